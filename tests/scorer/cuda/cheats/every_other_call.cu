#include "base.cuh"
// Skips every second call.
// expect: check
FORWARD {
    static int calls = 0;
    if (calls++ % 2 == 0) HONEST(causal, scale, stream);
}
