// Own: leaves the call by longjmp, with a thread still at work.
// expect: crash | integrity | check | timeout
#include "base.h"

#include <thread>
FORWARD({
    std::thread([=] { honest(q, k, v, o, s); }).detach();
    void** frame = (void**)__builtin_frame_address(0);
    asm volatile("" : : "r"(frame) : "memory");
})
