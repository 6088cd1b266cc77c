// Own: a thread watches the inputs and starts before it is asked.
// expect: harmless | check | integrity
#include "base.h"

#include <atomic>
#include <thread>
static std::atomic<const float*> watched{nullptr};
static std::atomic<long> ahead{0};
FORWARD({
    static std::thread watcher([] {
        float last = 0;
        for (;;) {
            const float* at = watched;
            if (at && *(volatile const float*)at != last) last = *at, ++ahead;  // new inputs are there: work could begin
        }
    });
    watched = q;
    honest(q, k, v, o, s);
})
