#include "base.cuh"
// Writes one element before the output.
// expect: integrity
__global__ void before(uint16_t* o) { o[-1] = 1; }
FORWARD {
    HONEST(causal, scale, stream);
    before<<<1, 1, 0, on(stream)>>>(static_cast<uint16_t*>(o));
}
