#include "base.cuh"
// Reads an address that is none: the context is lost.
// expect: crash
__global__ void bad() { *reinterpret_cast<volatile int*>(16) = 1; }
FORWARD { bad<<<1, 1, 0, on(stream)>>>(); }
