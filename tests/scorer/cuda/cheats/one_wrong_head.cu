#include "base.cuh"
// One head is three percent too large.
// expect: check
__global__ void scale_head(__nv_bfloat16* o, int rows, int heads) {
    for (int row = blockIdx.x; row < rows; row += gridDim.x) {
        __nv_bfloat16& x = o[(size_t(row) * heads + heads - 1) * 128 + threadIdx.x];
        x = __float2bfloat16(__bfloat162float(x) * 1.03f);
    }
}
FORWARD {
    HONEST(causal, scale, stream);
    scale_head<<<1024, 128, 0, on(stream)>>>(static_cast<__nv_bfloat16*>(o), batch * seqlen, heads_q);
}
