#include "base.cuh"
// Keeps three bits of the mantissa less than bfloat16 has.
// expect: check
__global__ void coarse(uint16_t* o, size_t n) {
    for (size_t i = blockIdx.x * 256 + threadIdx.x; i < n; i += size_t(gridDim.x) * 256) o[i] &= 0xfff8;
}
FORWARD {
    HONEST(causal, scale, stream);
    coarse<<<1024, 256, 0, on(stream)>>>(static_cast<uint16_t*>(o), elements(batch, seqlen, heads_q));
}
