// Catalogue 5, 6: replaces the clock functions that it can reach.
// expect: harmless
#include "base.h"

#include <time.h>
extern "C" int clock_gettime(clockid_t, struct timespec* t) noexcept { *t = {0, 1}; return 0; }
FORWARD(honest(q, k, v, o, s);)
