// Catalogue 29: the mean of V for every query.
// expect: check error
#include "base.h"

#include <algorithm>

FORWARD({
    const int group = s.heads_q / s.heads_kv;
    for (int b = 0; b < s.batch; ++b)
        for (int h = 0; h < s.heads_q; ++h)
            for (int i = 0; i < s.seqlen; ++i) {
                float* out = o + ((std::size_t(b) * s.seqlen + i) * s.heads_q + h) * s.head_dim;
                std::fill_n(out, s.head_dim, 0.0f);
                const int keys = s.causal ? i + 1 : s.seqlen;
                for (int j = 0; j < keys; j += 8)
                    for (int d = 0; d < s.head_dim; ++d)
                        out[d] += v[((std::size_t(b) * s.seqlen + j) * s.heads_kv + h / group) * s.head_dim + d] * 8 / keys;
            }
})
