#include "base.cuh"
// Counts its threads without taking turns, and scales by the count: right only if no addition were lost.
// expect: check
__global__ void scale_by_count(__nv_bfloat16* o, int rows, int heads) {
    __shared__ float count;
    for (int row = blockIdx.x; row < rows * heads; row += gridDim.x) {
        if (threadIdx.x == 0) count = 0.0f;
        __syncthreads();
        volatile float& shared = count;
        shared = shared + 1.0f;  // the race: of a warp's additions one survives
        __syncthreads();
        __nv_bfloat16& x = o[size_t(row) * 128 + threadIdx.x];
        x = __float2bfloat16(__bfloat162float(x) * (count / 128.0f));
        __syncthreads();
    }
}
FORWARD {
    HONEST(causal, scale, stream);
    scale_by_count<<<1024, 128, 0, on(stream)>>>(static_cast<__nv_bfloat16*>(o), batch * seqlen, heads_q);
}
