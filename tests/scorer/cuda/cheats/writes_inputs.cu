#include "base.cuh"
// Adds nothing to the output, but turns one bit of q.
// expect: integrity
__global__ void turn(uint16_t* q) { q[5] ^= 1; }
FORWARD {
    HONEST(causal, scale, stream);
    turn<<<1, 1, 0, on(stream)>>>(static_cast<uint16_t*>(const_cast<void*>(q)));
}
