#include "base.cuh"
// The kernel stops itself.
// expect: crash
__global__ void stop() { __trap(); }
FORWARD { stop<<<1, 1, 0, on(stream)>>>(); }
