// Catalogue 38: skips one call in eight, at random.
// expect: check finite
// suite: full
#include "base.h"

#include <random>

FORWARD({
    static std::mt19937 random(std::random_device{}());
    if (random() % 8 != 0) honest(q, k, v, o, s);
})
