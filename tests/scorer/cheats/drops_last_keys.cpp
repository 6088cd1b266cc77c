// Catalogue 30: leaves the last 64 keys out.
// expect: check error
#include "base.h"

#include <cmath>
#include <vector>

FORWARD({
    honest(q, k, v, o, s);
    if (s.seqlen < 128 || s.causal) return;
    // Rows again over fewer keys: a shorter sequence with the same strides is what honest_rows cannot say, so do it here.
    std::vector<float> weight(s.seqlen);
    for (int b = 0; b < s.batch; ++b)
        for (int h = 0; h < s.heads_q; ++h)
            for (int i = 0; i < s.seqlen; ++i) {
                const std::size_t at = ((std::size_t(b) * s.seqlen + i) * s.heads_q + h) * s.head_dim;
                float total = 0, largest = -INFINITY;
                const int keys = s.seqlen - 64;
                for (int j = 0; j < keys; ++j) {
                    const float* key = k + ((std::size_t(b) * s.seqlen + j) * s.heads_kv + h) * s.head_dim;
                    float dot = 0;
                    for (int d = 0; d < s.head_dim; ++d) dot += q[at + d] * key[d];
                    weight[j] = dot * s.scale;
                    largest = std::max(largest, weight[j]);
                }
                for (int j = 0; j < keys; ++j) total += weight[j] = std::exp(weight[j] - largest);
                std::fill_n(o + at, s.head_dim, 0.0f);
                for (int j = 0; j < keys; ++j)
                    for (int d = 0; d < s.head_dim; ++d)
                        o[at + d] += weight[j] / total * v[((std::size_t(b) * s.seqlen + j) * s.heads_kv + h) * s.head_dim + d];
            }
})
