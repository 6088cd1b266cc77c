#include "base.cuh"
// Fills the output with zeros.
// expect: check
FORWARD { cudaMemsetAsync(o, 0, elements(batch, seqlen, heads_q) * 2, on(stream)); }
