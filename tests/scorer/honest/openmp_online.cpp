// OpenMP over batch, head and blocks of queries; one pass over the keys with an online softmax.
#include <algorithm>
#include <cmath>
#include <cstddef>

extern "C" void attention_forward(const float* q, const float* k, const float* v, float* o, int batch, int heads_q,
                                  int heads_kv, int seqlen, int head_dim, int causal, float scale) {
    const int group = heads_q / heads_kv;
#pragma omp parallel for collapse(3) schedule(dynamic)
    for (int b = 0; b < batch; ++b)
        for (int h = 0; h < heads_q; ++h)
            for (int block = 0; block < (seqlen + 31) / 32; ++block)
                for (int i = block * 32; i < std::min(seqlen, block * 32 + 32); ++i) {
                    const float* query = q + ((std::size_t(b) * seqlen + i) * heads_q + h) * head_dim;
                    float* out = o + ((std::size_t(b) * seqlen + i) * heads_q + h) * head_dim;
                    float largest = -INFINITY, total = 0.0f, sum[256] = {};
                    for (int j = 0; j < (causal ? i + 1 : seqlen); ++j) {
                        const std::size_t at = ((std::size_t(b) * seqlen + j) * heads_kv + h / group) * head_dim;
                        float dot = 0.0f;
#pragma omp simd reduction(+ : dot)
                        for (int d = 0; d < head_dim; ++d) dot += query[d] * k[at + d];
                        dot *= scale;
                        if (dot > largest) {
                            const float shrink = std::exp(largest - dot);
                            total *= shrink;
                            for (int d = 0; d < head_dim; ++d) sum[d] *= shrink;
                            largest = dot;
                        }
                        const float weight = std::exp(dot - largest);
                        total += weight;
                        for (int d = 0; d < head_dim; ++d) sum[d] += weight * v[at + d];
                    }
                    for (int d = 0; d < head_dim; ++d) out[d] = sum[d] / total;
                }
}
