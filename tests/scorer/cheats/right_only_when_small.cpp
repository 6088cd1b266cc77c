// Catalogue 34: right on small inputs, garbage at the timed size.
// expect: check error
#include "base.h"

FORWARD({
    if (s.batch * s.seqlen < 512) honest(q, k, v, o, s);
    else std::memcpy(o, q, s.elements() * 4);
})
