// Catalogue 33: right only when the length is a multiple of 64.
// expect: check
#include "base.h"

FORWARD({
    if (s.seqlen % 64 == 0) honest(q, k, v, o, s);
    else std::memset(o, 0, s.elements() * 4);
})
