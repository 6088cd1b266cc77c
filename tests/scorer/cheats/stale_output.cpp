// Catalogue 20: gives the previous call's output again.
// expect: check error
#include "base.h"

#include <vector>

FORWARD({
    static std::vector<float> last;
    static int calls = 0;
    if (++calls > 2 && last.size() == s.elements()) { std::memcpy(o, last.data(), last.size() * 4); return; }
    honest(q, k, v, o, s);
    last.assign(o, o + s.elements());
})
