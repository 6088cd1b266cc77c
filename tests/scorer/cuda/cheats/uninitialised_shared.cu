#include "base.cuh"
// Adds what another kernel left in shared memory: here scores and keys of the call before, elsewhere perhaps zeros.
// expect: check | harmless
__global__ void leave_traces(float value) {
    extern __shared__ float traces[];
    for (int i = threadIdx.x; i < 8192; i += blockDim.x) traces[i] = value + i;
    __syncthreads();
    if (traces[(threadIdx.x + 1) % 8192] < 0.0f) __trap();  // keeps the compiler from leaving it all out
}
__global__ void add_traces(__nv_bfloat16* o, int rows, int heads) {
    extern __shared__ float traces[];  // never written here
    for (int row = blockIdx.x; row < rows * heads; row += gridDim.x) {
        __nv_bfloat16& x = o[size_t(row) * 128 + threadIdx.x];
        x = __float2bfloat16(__bfloat162float(x) + traces[(row + threadIdx.x) % 8192]);
    }
}
FORWARD {
    HONEST(causal, scale, stream);
    leave_traces<<<264, 128, 32768, on(stream)>>>(1.0f);
    add_traces<<<264, 128, 32768, on(stream)>>>(static_cast<__nv_bfloat16*>(o), batch * seqlen, heads_q);
}
