// Attention forward, float32: the textbook, one query at a time, and the seed of the lineage.
//   q, o    [batch, seqlen, heads_q, head_dim], contiguous
//   k, v    [batch, seqlen, heads_kv, head_dim]; query head h reads head h / (heads_q / heads_kv)
//   causal  query i sees the keys 0..i
// Written to be read and to be right for every shape. Between the markers lie the parts that a
// playbook's directions replace.
#include "avo_abi.h"

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <vector>

namespace {

// [block dot]
float dot(const float* a, const float* b, int n) {
    float sum = 0.0f;
    for (int i = 0; i < n; ++i) sum += a[i] * b[i];
    return sum;
}
// [end dot]

// [block softmax_row]
// Turns n scores into weights and returns their sum. The maximum goes first, so that no exp overflows.
float softmax_row(float* p, int n) {
    float largest = p[0];
    for (int j = 1; j < n; ++j) largest = std::max(largest, p[j]);
    float sum = 0.0f;
    for (int j = 0; j < n; ++j) {
        p[j] = std::exp(p[j] - largest);
        sum += p[j];
    }
    return sum;
}
// [end softmax_row]

// [block row]
// One query row: its scores against every key, their softmax, and the weighted sum of the values.
// Keys from `visible` on are masked out.
void attend_row(const float* q, const float* k, const float* v, float* o, std::size_t stride_kv, int seqlen,
                int visible, int head_dim, float scale, float* p) {
    for (int j = 0; j < seqlen; ++j) {
        const float score = scale * dot(q, k + j * stride_kv, head_dim);
        p[j] = j < visible ? score : -INFINITY;
    }
    const float sum = softmax_row(p, seqlen);
    std::fill(o, o + head_dim, 0.0f);
    for (int j = 0; j < seqlen; ++j)
        for (int d = 0; d < head_dim; ++d) o[d] += p[j] / sum * v[j * stride_kv + d];
}
// [end row]

}  // namespace

extern "C" void attention_forward(const float* q, const float* k, const float* v, float* o, int batch, int heads_q,
                                  int heads_kv, int seqlen, int head_dim, int causal, float scale) {
    const int group = heads_q / heads_kv;
    const std::size_t stride_q = static_cast<std::size_t>(heads_q) * head_dim;
    const std::size_t stride_kv = static_cast<std::size_t>(heads_kv) * head_dim;
    const auto attend = [&](int b, int h, int i, float* weights) {
        const std::size_t token = static_cast<std::size_t>(b) * seqlen;
        const std::size_t row = (token + i) * stride_q + static_cast<std::size_t>(h) * head_dim;
        const std::size_t key = token * stride_kv + static_cast<std::size_t>(h / group) * head_dim;
        attend_row(q + row, k + key, v + key, o + row, stride_kv, seqlen, causal ? i + 1 : seqlen, head_dim, scale,
                   weights);
    };
    // [block schedule]
    std::vector<float> weights(seqlen);
    for (int b = 0; b < batch; ++b)
        for (int h = 0; h < heads_q; ++h)
            for (int i = 0; i < seqlen; ++i) attend(b, h, i, weights.data());
    // [end schedule]
}
