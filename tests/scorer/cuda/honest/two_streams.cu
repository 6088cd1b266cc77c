#include "base.cuh"
// Clears the output on one stream and computes on another after an event: an honest use of both.
FORWARD {
    static cudaStream_t side = [] { cudaStream_t s; cudaStreamCreateWithFlags(&s, cudaStreamNonBlocking); return s; }();
    static cudaEvent_t cleared = [] { cudaEvent_t e; cudaEventCreateWithFlags(&e, cudaEventDisableTiming); return e; }();
    cudaMemsetAsync(o, 0, elements(batch, seqlen, heads_q) * 2, on(stream));
    cudaEventRecord(cleared, on(stream));
    cudaStreamWaitEvent(side, cleared, 0);
    HONEST(causal, scale, side);
}
