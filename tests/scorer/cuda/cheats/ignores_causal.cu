#include "base.cuh"
// Masks nothing.
// expect: check
FORWARD { HONEST(0, scale, stream); }
