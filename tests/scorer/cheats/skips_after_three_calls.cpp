// Catalogue 19: honest for three calls, then nothing.
// expect: check finite
#include "base.h"

FORWARD({
    static int calls = 0;
    if (++calls <= 3) honest(q, k, v, o, s);
})
