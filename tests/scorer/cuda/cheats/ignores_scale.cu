#include "base.cuh"
// Uses the usual scale, whatever it is asked for.
// expect: check
FORWARD { HONEST(causal, 0.08838834764831845f, stream); }
