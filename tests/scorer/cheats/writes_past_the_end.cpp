// Catalogue 40: writes beyond its output.
// expect: integrity guards
#include "base.h"

FORWARD({
    honest(q, k, v, o, s);
    for (int i = 0; i < 16; ++i) o[s.elements() + i] = 1.0f;
})
