#include "base.cuh"
// Computes on a stream of its own: the judge waits for the device, so nothing is gained.
// expect: harmless
FORWARD {
    static cudaStream_t side = [] { cudaStream_t s; cudaStreamCreateWithFlags(&s, cudaStreamNonBlocking); return s; }();
    HONEST(causal, scale, side);
}
