// Catalogue 59: prints without end, with terminal escapes in it.
// expect: harmless
#include "base.h"

#include <unistd.h>
FORWARD({
    static bool done = false;
    char line[4096];
    std::memset(line, 'x', sizeof line);
    std::memcpy(line, "\033[2J\033]0;owned\007", 15);
    for (long n = 0; !done && n < 262144; ++n) (void)!write(1, line, sizeof line);
    done = true;
    honest(q, k, v, o, s);
})
