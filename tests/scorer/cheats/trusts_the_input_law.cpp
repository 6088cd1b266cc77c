// Own: a series for exp that is right for the usual logits only, unless the row looks hot.
// expect: check
#include "base.h"

#include <vector>

FORWARD({
    honest(q, k, v, o, s);
    const int group = s.heads_q / s.heads_kv;
    std::vector<float> sum(s.head_dim);
    for (int b = 0; b < s.batch; ++b)
        for (int h = 0; h < s.heads_q; ++h)
            for (int i = 0; i < s.seqlen; ++i) {
                const std::size_t at = ((std::size_t(b) * s.seqlen + i) * s.heads_q + h) * s.head_dim;
                float norm = 0;
                for (int d = 0; d < s.head_dim; ++d) norm += q[at + d] * q[at + d];
                if (norm < 3.0f * s.head_dim || norm > 100.0f * s.head_dim) continue;  // usual, or plainly hot
                float total = 0;
                std::fill(sum.begin(), sum.end(), 0.0f);
                for (int j = 0; j < (s.causal ? i + 1 : s.seqlen); ++j) {
                    const std::size_t key = ((std::size_t(b) * s.seqlen + j) * s.heads_kv + h / group) * s.head_dim;
                    float x = 0;
                    for (int d = 0; d < s.head_dim; ++d) x += q[at + d] * k[key + d];
                    x *= s.scale;
                    const float w = 1 + x * (1 + x * (0.5f + x * (0.16666667f + x * 0.04166667f)));
                    total += w;
                    for (int d = 0; d < s.head_dim; ++d) sum[d] += w * v[key + d];
                }
                for (int d = 0; d < s.head_dim; ++d) o[at + d] = sum[d] / total;
            }
})
