// Catalogue 10: slow first calls, to be timed fewer times.
// expect: harmless
#include "base.h"

#include <unistd.h>
FORWARD({
    static int calls = 0;
    if (++calls <= 3) usleep(30000);
    honest(q, k, v, o, s);
})
