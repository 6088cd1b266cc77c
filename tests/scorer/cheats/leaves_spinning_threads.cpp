// Catalogue 13: leaves threads behind that burn every core.
// expect: harmless
#include "base.h"

#include <thread>
FORWARD({
    honest(q, k, v, o, s);
    static bool started = false;
    if (!started) for (int i = 0; i < 8; ++i) std::thread([] { for (volatile long n = 0;; ++n) {} }).detach();
    started = true;
})
