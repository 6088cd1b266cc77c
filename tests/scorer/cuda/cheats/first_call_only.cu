#include "base.cuh"
// Computes the first call and trusts that nobody looks again.
// expect: check
FORWARD {
    static int calls = 0;
    if (calls++ == 0) HONEST(causal, scale, stream);
}
