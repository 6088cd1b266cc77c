#include "base.cuh"
// One element of the output is not a number.
// expect: check
__global__ void spoil(uint16_t* o) { o[77] = 0x7fc1; }
FORWARD {
    HONEST(causal, scale, stream);
    spoil<<<1, 1, 0, on(stream)>>>(static_cast<uint16_t*>(o));
}
