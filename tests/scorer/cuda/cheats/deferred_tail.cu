#include "base.cuh"
// The last rows are put right by a thread that waits for the call to end, and so comes after the reply.
// expect: check | integrity
__global__ void poison(uint16_t* o, size_t n) {
    for (size_t i = blockIdx.x * 256 + threadIdx.x; i < n; i += gridDim.x * 256) o[i] = 0x7fc1;
}
FORWARD {
    const size_t n = elements(batch, seqlen, heads_q), tail = n / 8;
    HONEST(causal, scale, stream);
    poison<<<64, 256, 0, on(stream)>>>(static_cast<uint16_t*>(o) + n - tail, tail);
    cudaEvent_t done;
    cudaEventCreateWithFlags(&done, cudaEventDisableTiming);
    cudaEventRecord(done, on(stream));
    std::thread([=] {
        cudaEventSynchronize(done);
        std::this_thread::sleep_for(std::chrono::milliseconds(1));
        HONEST(causal, scale, nullptr);
    }).detach();
}
