// Own: another thread goes on when the one that serves has ended.
// expect: timeout time | crash | integrity
#include "base.h"

#include <pthread.h>
#include <thread>
FORWARD({
    std::thread([=] { honest(q, k, v, o, s); for (;;) {} }).detach();
    pthread_exit(nullptr);
})
