#include "base.cuh"
// Writes one element behind the output.
// expect: integrity
__global__ void past(uint16_t* o, size_t n) { o[n] = 1; }
FORWARD {
    HONEST(causal, scale, stream);
    past<<<1, 1, 0, on(stream)>>>(static_cast<uint16_t*>(o), elements(batch, seqlen, heads_q));
}
