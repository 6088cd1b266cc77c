#include "base.cuh"
// The call never returns.
// expect: timeout
FORWARD { for (;;) std::this_thread::sleep_for(std::chrono::seconds(1)); }
