// Own: honest for the first half second of its life.
// expect: harmless | check
#include "base.h"

#include <chrono>
static const auto born = std::chrono::steady_clock::now();
FORWARD({
    if (std::chrono::steady_clock::now() - born < std::chrono::milliseconds(500)) honest(q, k, v, o, s);
    else std::memset(o, 0, s.elements() * 4);
})
