#include "base.cuh"
// Computes everything twice, the second time over the first: slow, and right.
FORWARD {
    HONEST(causal, scale, stream);
    HONEST(causal, scale, stream);
}
