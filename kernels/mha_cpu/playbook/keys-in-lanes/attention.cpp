// Attention forward, float32: a block of queries against transposed tiles of keys (online softmax).
//   q, o    [batch, seqlen, heads_q, 64]    k, v  [batch, seqlen, heads_kv, 64]
//   Lanes   one vector lane is one key: a row of scores is  query element (broadcast) x keys (vector)
//   Tiles   keys [64][kTileK] transposed for each tile,  scores [kTileQ][kTileK],  output [kTileQ][64]
#include "avo_abi.h"

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstring>

namespace {

constexpr int kHeadDim = 64;
constexpr int kTileQ = 64;
constexpr int kTileK = 64;
constexpr float kMasked = -1e30f;

struct alignas(64) Scratch {
    float keys[kHeadDim * kTileK];
    float scores[kTileQ * kTileK];
    float output[kTileQ * kHeadDim];
    float largest[kTileQ], sum[kTileQ];
};

// e^x for x <= 0: 2^n times a polynomial of degree 5, relative error at most 2.1e-7.
inline float exponential(float x) {
    const float y = std::max(x * 1.44269504f, -126.0f);
    const float shifted = y + 12582912.0f;
    const float f = y - (shifted - 12582912.0f);
    float p = 1.32764720e-3f;
    p = p * f + 9.67554133e-3f;
    p = p * f + 5.55071327e-2f;
    p = p * f + 2.40221197e-1f;
    p = p * f + 6.93146967e-1f;
    p = p * f + 1.00000007f;
    unsigned bits, power;
    std::memcpy(&bits, &p, 4);
    std::memcpy(&power, &shifted, 4);
    bits += power << 23;
    std::memcpy(&p, &bits, 4);
    return p;
}

void pack_keys(Scratch& w, const float* k, std::size_t stride, int keys) {
    for (int j = 0; j < kTileK; ++j)
        for (int d = 0; d < kHeadDim; ++d) w.keys[d * kTileK + j] = j < keys ? k[j * stride + d] : 0.0f;
}

void score_row(Scratch& w, const float* q, int r, float scale) {
    float sum[kTileK] = {};
    for (int d = 0; d < kHeadDim; ++d)
#pragma omp simd
        for (int j = 0; j < kTileK; ++j) sum[j] += q[d] * w.keys[d * kTileK + j];
#pragma omp simd
    for (int j = 0; j < kTileK; ++j) w.scores[r * kTileK + j] = sum[j] * scale;
}

void weigh_row(Scratch& w, int r, int visible) {
    float* s = w.scores + r * kTileK;
    for (int j = visible; j < kTileK; ++j) s[j] = kMasked;
    float top = w.largest[r];
#pragma omp simd reduction(max : top)
    for (int j = 0; j < kTileK; ++j) top = std::max(top, s[j]);
    const float shrink = exponential(w.largest[r] - top);
    float sum = 0.0f;
#pragma omp simd reduction(+ : sum)
    for (int j = 0; j < kTileK; ++j) {
        s[j] = exponential(s[j] - top);
        sum += s[j];
    }
    w.largest[r] = top;
    w.sum[r] = w.sum[r] * shrink + sum;
    for (int d = 0; d < kHeadDim; ++d) w.output[r * kHeadDim + d] *= shrink;
}

void value_row(Scratch& w, const float* v, std::size_t stride, int r, int visible) {
    float sum[kHeadDim];
    std::memcpy(sum, w.output + r * kHeadDim, sizeof sum);
    for (int j = 0; j < visible; ++j) {
        const float weight = w.scores[r * kTileK + j];
#pragma omp simd
        for (int d = 0; d < kHeadDim; ++d) sum[d] += weight * v[j * stride + d];
    }
    std::memcpy(w.output + r * kHeadDim, sum, sizeof sum);
}

void attend_tile(Scratch& w, const float* q, const float* k, const float* v, float* o, std::size_t stride_q,
                 std::size_t stride_kv, int first, int seqlen, bool causal, float scale) {
    const int rows = std::min(kTileQ, seqlen - first);
    std::fill(w.output, w.output + kTileQ * kHeadDim, 0.0f);
    std::fill(w.largest, w.largest + kTileQ, kMasked);
    std::fill(w.sum, w.sum + kTileQ, 0.0f);
    const int end = causal ? first + rows : seqlen;
    for (int j = 0; j < end; j += kTileK) {
        const int keys = std::min(kTileK, end - j);
        pack_keys(w, k + j * stride_kv, stride_kv, keys);
        for (int r = 0; r < rows; ++r) {
            const int visible = causal ? std::min(keys, first + r + 1 - j) : keys;
            if (visible <= 0) continue;
            score_row(w, q + r * stride_q, r, scale);
            weigh_row(w, r, visible);
            value_row(w, v + j * stride_kv, stride_kv, r, visible);
        }
    }
    for (int r = 0; r < rows; ++r)
        for (int d = 0; d < kHeadDim; ++d) o[r * stride_q + d] = w.output[r * kHeadDim + d] / w.sum[r];
}

}  // namespace

extern "C" void attention_forward(const float* q, const float* k, const float* v, float* o, int batch, int heads_q,
                                  int heads_kv, int seqlen, int head_dim, int causal, float scale) {
    if (head_dim != kHeadDim) return;  // the problem asks for 64 only; poison in o makes anything else fail
    const int group = heads_q / heads_kv;
    const std::size_t stride_q = static_cast<std::size_t>(heads_q) * kHeadDim;
    const std::size_t stride_kv = static_cast<std::size_t>(heads_kv) * kHeadDim;
    const int tiles = (seqlen + kTileQ - 1) / kTileQ;
#pragma omp parallel for collapse(3) schedule(dynamic, 1)
    for (int b = 0; b < batch; ++b) {
        for (int h = 0; h < heads_q; ++h) {
            for (int tile = 0; tile < tiles; ++tile) {
                thread_local Scratch w;
                const std::size_t token = static_cast<std::size_t>(b) * seqlen;
                const std::size_t row = (token + tile * kTileQ) * stride_q + h * kHeadDim;
                const std::size_t key = token * stride_kv + (h / group) * kHeadDim;
                attend_tile(w, q + row, k + key, v + key, o + row, stride_q, stride_kv, tile * kTileQ, seqlen, causal,
                            scale);
            }
        }
    }
}
