// Legitimate state: a table of powers built while loading, scratch memory kept from call to call, thread-local buffers.
#include <algorithm>
#include <cmath>
#include <cstddef>
#include <vector>

static float table[1024];

__attribute__((constructor)) static void build() {
    for (int i = 0; i < 1024; ++i) table[i] = std::exp2(i / 1024.0f);
}

// exp(x) for x <= 0: a table for ten bits of the fraction, a short polynomial for the rest.
static float power(float x) {
    const float y = std::max(x * 1.44269504f, -120.0f), whole = std::floor(y), scaled = (y - whole) * 1024.0f;
    const int index = std::min(int(scaled), 1023);
    const float rest = (scaled - index) * (0.69314718f / 1024.0f);
    return std::ldexp(table[index] * (1.0f + rest * (1.0f + rest * 0.5f)), int(whole));
}

extern "C" void attention_forward(const float* q, const float* k, const float* v, float* o, int batch, int heads_q,
                                  int heads_kv, int seqlen, int head_dim, int causal, float scale) {
    const int group = heads_q / heads_kv;
#pragma omp parallel for collapse(2) schedule(dynamic)
    for (int b = 0; b < batch; ++b)
        for (int h = 0; h < heads_q; ++h) {
            static thread_local std::vector<float> weight;
            weight.resize(std::max<std::size_t>(weight.size(), seqlen));
            for (int i = 0; i < seqlen; ++i) {
                const float* query = q + ((std::size_t(b) * seqlen + i) * heads_q + h) * head_dim;
                float* out = o + ((std::size_t(b) * seqlen + i) * heads_q + h) * head_dim;
                const int keys = causal ? i + 1 : seqlen;
                float largest = -INFINITY, total = 0.0f;
                for (int j = 0; j < keys; ++j) {
                    const float* key = k + ((std::size_t(b) * seqlen + j) * heads_kv + h / group) * head_dim;
                    float dot = 0.0f;
#pragma omp simd reduction(+ : dot)
                    for (int d = 0; d < head_dim; ++d) dot += query[d] * key[d];
                    weight[j] = dot * scale;
                    largest = std::max(largest, weight[j]);
                }
                for (int j = 0; j < keys; ++j) total += weight[j] = power(weight[j] - largest);
                std::fill(out, out + head_dim, 0.0f);
                for (int j = 0; j < keys; ++j) {
                    const float* value = v + ((std::size_t(b) * seqlen + j) * heads_kv + h / group) * head_dim;
                    for (int d = 0; d < head_dim; ++d) out[d] += weight[j] * value[d];
                }
                for (int d = 0; d < head_dim; ++d) out[d] /= total;
            }
        }
}
