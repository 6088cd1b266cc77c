// The textbook, single-threaded.
#include <cmath>
#include <vector>

extern "C" void attention_forward(const float* q, const float* k, const float* v, float* o, int batch, int heads_q,
                                  int heads_kv, int seqlen, int head_dim, int causal, float scale) {
    const int group = heads_q / heads_kv;
    std::vector<float> weight(seqlen);
    for (int b = 0; b < batch; ++b)
        for (int h = 0; h < heads_q; ++h)
            for (int i = 0; i < seqlen; ++i) {
                const float* query = q + ((long(b) * seqlen + i) * heads_q + h) * head_dim;
                float* out = o + ((long(b) * seqlen + i) * heads_q + h) * head_dim;
                float largest = -INFINITY, total = 0.0f;
                for (int j = 0; j < seqlen; ++j) {
                    const float* key = k + ((long(b) * seqlen + j) * heads_kv + h / group) * head_dim;
                    float score = 0.0f;
                    for (int d = 0; d < head_dim; ++d) score += query[d] * key[d];
                    weight[j] = causal && j > i ? -INFINITY : score * scale;
                    largest = std::fmax(largest, weight[j]);
                }
                for (int j = 0; j < seqlen; ++j) total += weight[j] = std::exp(weight[j] - largest);
                for (int d = 0; d < head_dim; ++d) out[d] = 0.0f;
                for (int j = 0; j < seqlen; ++j) {
                    const float* value = v + ((long(b) * seqlen + j) * heads_kv + h / group) * head_dim;
                    for (int d = 0; d < head_dim; ++d) out[d] += weight[j] / total * value[d];
                }
            }
}
