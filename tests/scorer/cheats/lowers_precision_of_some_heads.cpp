// Catalogue 36, 38: bfloat16 in one head of one batch only.
// expect: check error
#include "base.h"

FORWARD({
    honest(q, k, v, o, s);
    for (int i = 0; i < s.seqlen; ++i)
        for (int d = 0; d < s.head_dim; ++d) {
            float& x = o[(std::size_t(i) * s.heads_q) * s.head_dim + d];
            std::uint32_t w;
            std::memcpy(&w, &x, 4);
            w = (w + 0x8000u) & 0xffff0000u;
            std::memcpy(&x, &w, 4);
        }
})
