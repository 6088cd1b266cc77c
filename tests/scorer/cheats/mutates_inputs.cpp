// Catalogue 35: overwrites the queries to make its work easier.
// expect: crash worker
#include "base.h"

FORWARD({
    const_cast<float*>(q)[0] = 0.0f;
    honest(q, k, v, o, s);
})
