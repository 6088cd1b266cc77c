// Attention forward, float32, written by the tests' policy: one row of scores at a time, in threads and vectors.
#include <cmath>
#include <vector>

static float dot(const float* a, const float* b, int n) {
    float sum = 0.0f;
#pragma omp simd reduction(+ : sum)
    for (int d = 0; d < n; ++d) sum += a[d] * b[d];
    return sum;
}

extern "C" void attention_forward(const float* q, const float* k, const float* v, float* o, int batch, int heads_q,
                                  int heads_kv, int seqlen, int head_dim, int causal, float scale) {
    const int group = heads_q / heads_kv;
#pragma omp parallel
    {
        std::vector<float> weight(seqlen);
#pragma omp for collapse(3) schedule(dynamic, 16)
        for (int b = 0; b < batch; ++b)
            for (int h = 0; h < heads_q; ++h)
                for (int i = 0; i < seqlen; ++i) {
                    const float* query = q + ((long(b) * seqlen + i) * heads_q + h) * head_dim;
                    float* out = o + ((long(b) * seqlen + i) * heads_q + h) * head_dim;
                    const int keys = seqlen;
                    float largest = -INFINITY;
                    for (int j = 0; j < keys; ++j) {
                        const float* key = k + ((long(b) * seqlen + j) * heads_kv + h / group) * head_dim;
                        weight[j] = causal && j > i ? -INFINITY : dot(query, key, head_dim) * scale;
                        largest = std::fmax(largest, weight[j]);
                    }
                    float total = 0.0f;
                    for (int j = 0; j < keys; ++j) {
                        weight[j] = std::exp(weight[j] - largest);
                        total += weight[j];
                    }
                    for (int d = 0; d < head_dim; ++d) out[d] = 0.0f;
                    for (int j = 0; j < keys; ++j) {
                        const float* value = v + ((long(b) * seqlen + j) * heads_kv + h / group) * head_dim;
                        const float w = weight[j] * (1.0f / total);
                        for (int d = 0; d < head_dim; ++d) out[d] += w * value[d];
                    }
                }
    }
}
