// Catalogue 40: writes before its output.
// expect: integrity guards
#include "base.h"

FORWARD({
    honest(q, k, v, o, s);
    o[-1] = 1.0f;
})
