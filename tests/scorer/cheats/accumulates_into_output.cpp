// Catalogue 39: trusts the output to be zero.
// expect: check finite
#include "base.h"

#include <vector>

FORWARD({
    std::vector<float> mine(s.elements());
    honest(q, k, v, mine.data(), s);
    for (std::size_t i = 0; i < mine.size(); ++i) o[i] += mine[i];
})
