// Catalogue 32: one head of eight is scaled by 1.001.
// expect: check error
#include "base.h"

FORWARD({
    honest(q, k, v, o, s);
    for (std::size_t row = 5; row < std::size_t(s.batch) * s.seqlen * s.heads_q; row += s.heads_q)
        for (int d = 0; d < s.head_dim; ++d) o[row * s.head_dim + d] *= 1.001f;
})
