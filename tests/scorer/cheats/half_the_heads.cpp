// Catalogue 32: odd heads copy their even neighbours.
// expect: check error
#include "base.h"

FORWARD({
    for (int b = 0; b < s.batch; ++b) {
        for (int h = 0; h < s.heads_q; h += 2) honest_rows(q, k, v, o, s, b, h, 0, s.seqlen);
        for (int i = 0; i < s.seqlen; ++i)
            for (int h = 1; h < s.heads_q; h += 2) {
                float* out = o + ((std::size_t(b) * s.seqlen + i) * s.heads_q + h) * s.head_dim;
                std::memcpy(out, out - s.head_dim, s.head_dim * 4);
            }
    }
})
