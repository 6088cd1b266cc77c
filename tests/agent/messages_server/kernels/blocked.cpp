// Attention forward, float32, written by the tests' policy: four query rows share each key and each value,
// and keys lie transposed, so that no score needs a sum across a vector.
#include <algorithm>
#include <cmath>
#include <cstring>
#include <vector>

static constexpr int kRows = 4, kDim = 64, kKeys = 32, kColumns = 32;

// exp(x) for x <= 0: 2^n times a polynomial on [-1/2, 1/2]; relative error below 3e-7.
static inline float fast_exp(float x) {
    const float y = std::max(x, -87.0f) * 1.44269504f;
    const float n = std::floor(y + 0.5f), f = (y - n) * 0.693147181f;
    const float p = 1.0f + f * (1.0f + f * (0.5f + f * (0.166666667f + f * (0.0416666667f + f * (0.00833333333f +
                    f * 0.00138888889f)))));
    const int bits = (int(n) + 127) << 23;
    float power;
    std::memcpy(&power, &bits, sizeof power);
    return x < -87.0f ? 0.0f : p * power;
}

// s[r][j] = q_r . k_j for kRows rows and kKeys keys; kt is [kDim][stride].
static inline void scores(const float* const* query, const float* kt, long stride, float (*s)[kKeys]) {
    float sum[kRows][kKeys] = {};
    for (int d = 0; d < kDim; ++d)
        for (int r = 0; r < kRows; ++r)
#pragma omp simd
            for (int j = 0; j < kKeys; ++j) sum[r][j] += query[r][d] * kt[d * stride + j];
    std::memcpy(s, sum, sizeof sum);
}

// out[r][c] = sum over keys of w[r][j] v[j][c], for kColumns columns.
static inline void weigh(const float* weight, long stride, const float* v, long stride_v, int keys, float (*out)[kColumns]) {
    float sum[kRows][kColumns] = {};
    for (int j = 0; j < keys; ++j)
        for (int r = 0; r < kRows; ++r)
#pragma omp simd
            for (int c = 0; c < kColumns; ++c) sum[r][c] += weight[r * stride + j] * v[j * stride_v + c];
    std::memcpy(out, sum, sizeof sum);
}

extern "C" void attention_forward(const float* q, const float* k, const float* v, float* o, int batch, int heads_q,
                                  int heads_kv, int seqlen, int head_dim, int causal, float scale) {
    const int group = heads_q / heads_kv, blocks = (seqlen + kRows - 1) / kRows;
    const long stride = (seqlen + kKeys - 1) / kKeys * kKeys, row_q = long(heads_q) * kDim, row_kv = long(heads_kv) * kDim;
#pragma omp parallel
    {
        std::vector<float> kt(size_t(kDim) * stride, 0.0f), weight(size_t(kRows) * stride);
#pragma omp for collapse(2) schedule(dynamic, 1)
        for (int b = 0; b < batch; ++b)
            for (int h = 0; h < heads_q; ++h) {
                const float* keys_of = k + (long(b) * seqlen * heads_kv + h / group) * kDim;
                const float* values_of = v + (long(b) * seqlen * heads_kv + h / group) * kDim;
                for (int j = 0; j < seqlen; ++j)
                    for (int d = 0; d < kDim; ++d) kt[d * stride + j] = keys_of[j * row_kv + d];
                for (int block = 0; block < blocks; ++block) {
                    const int first = block * kRows, rows = std::min(kRows, seqlen - first);
                    const int keys = causal ? first + rows : seqlen;
                    const float* query[kRows];
                    for (int r = 0; r < kRows; ++r)
                        query[r] = q + (long(b) * seqlen + first + std::min(r, rows - 1)) * row_q + h * kDim;
                    for (int j = 0; j < keys; j += kKeys) {
                        float s[kRows][kKeys];
                        scores(query, kt.data() + j, stride, s);
                        for (int r = 0; r < kRows; ++r)
                            for (int i = 0; i < kKeys; ++i) weight[r * stride + j + i] = s[r][i] * scale;
                    }
                    for (int r = 0; r < kRows; ++r) {
                        float* w = weight.data() + r * stride;
                        if (causal)
                            for (int j = first + r + 1; j < keys; ++j) w[j] = -INFINITY;
                        float largest = -INFINITY, total = 0.0f;
#pragma omp simd reduction(max : largest)
                        for (int j = 0; j < keys; ++j) largest = std::max(largest, w[j]);
#pragma omp simd reduction(+ : total)
                        for (int j = 0; j < keys; ++j) {
                            w[j] = fast_exp(w[j] - largest);
                            total += w[j];
                        }
                        const float inverse = 1.0f / total;
                        for (int j = 0; j < keys; ++j) w[j] *= inverse;
                    }
                    for (int c = 0; c < kDim; c += kColumns) {
                        float out[kRows][kColumns];
                        weigh(weight.data(), stride, values_of + c, row_kv, keys, out);
                        for (int r = 0; r < rows; ++r)
                            std::copy_n(out[r], kColumns, o + (long(b) * seqlen + first + r) * row_q + h * kDim + c);
                    }
                }
            }
    }
}
