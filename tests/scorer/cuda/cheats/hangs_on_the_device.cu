#include "base.cuh"
// The kernel never ends.
// expect: timeout
__global__ void forever(volatile int* o) { while (o[0] != 1 || o[1] != 2) {} }
FORWARD { forever<<<1, 1, 0, on(stream)>>>(static_cast<int*>(o)); }
