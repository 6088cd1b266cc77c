// Tiles: keys transposed once per head, sixteen query rows at a time. The quick control that cheats are compared with.
#include <algorithm>
#include <cmath>
#include <cstddef>
#include <vector>

extern "C" void attention_forward(const float* q, const float* k, const float* v, float* o, int batch, int heads_q,
                                  int heads_kv, int seqlen, int head_dim, int causal, float scale) {
    constexpr int kRows = 16, kWidth = 64;
    const int group = heads_q / heads_kv, padded = (seqlen + 63) / 64 * 64;
    if (head_dim != kWidth) return;
#pragma omp parallel
    {
        std::vector<float> keys(std::size_t(kWidth) * padded), weight(std::size_t(kRows) * padded);
#pragma omp for schedule(dynamic)
        for (int at = 0; at < batch * heads_q; ++at) {
            const int b = at / heads_q, h = at % heads_q;
            for (int j = 0; j < padded; ++j)
                for (int d = 0; d < kWidth; ++d)
                    keys[std::size_t(d) * padded + j] =
                        j < seqlen ? k[((std::size_t(b) * seqlen + j) * heads_kv + h / group) * kWidth + d] : 0.0f;
            for (int first = 0; first < seqlen; first += kRows) {
                const int rows = std::min(kRows, seqlen - first);
                const int reach = causal ? first + rows : seqlen;
                for (int r = 0; r < rows; ++r) {
                    const float* query = q + ((std::size_t(b) * seqlen + first + r) * heads_q + h) * kWidth;
                    float* p = &weight[std::size_t(r) * padded];
                    for (int j = 0; j < reach; j += 64) {
                        float sum[64] = {};
                        for (int d = 0; d < kWidth; ++d)
                            for (int x = 0; x < 64; ++x) sum[x] += query[d] * keys[std::size_t(d) * padded + j + x];
                        for (int x = 0; x < 64; ++x) p[j + x] = sum[x] * scale;
                    }
                    const int seen = causal ? first + r + 1 : seqlen;
                    float largest = p[0], total = 0.0f;
                    for (int j = 1; j < seen; ++j) largest = std::max(largest, p[j]);
                    for (int j = 0; j < seen; ++j) total += p[j] = std::exp(p[j] - largest);
                    for (int j = 0; j < seen; ++j) p[j] /= total;
                    for (int j = seen; j < reach; ++j) p[j] = 0.0f;
                }
                float sum[kRows][kWidth] = {};
                for (int j = 0; j < reach; ++j) {
                    const float* value = v + ((std::size_t(b) * seqlen + j) * heads_kv + h / group) * kWidth;
                    for (int r = 0; r < rows; ++r)
                        for (int d = 0; d < kWidth; ++d) sum[r][d] += weight[std::size_t(r) * padded + j] * value[d];
                }
                for (int r = 0; r < rows; ++r)
                    std::copy(sum[r], sum[r] + kWidth,
                              o + ((std::size_t(b) * seqlen + first + r) * heads_q + h) * kWidth);
            }
        }
    }
}
