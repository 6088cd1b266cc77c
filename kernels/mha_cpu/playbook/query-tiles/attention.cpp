// Attention forward, float32: a tile of queries meets one tile of keys after the other (online softmax).
//   q, o    [batch, seqlen, heads_q, 64]    k, v  [batch, seqlen, heads_kv, 64]
//   Lanes   one vector lane is one query: a score is  key element (broadcast) x queries (vector), so that
//           maximum, exp and sum run down the keys without a single step across lanes
//   Tiles   w.q [64][kTileQ] transposed queries (rows),  w.s [kTileK][kTileQ] scores, then weights,
//           w.o [kTileQ][64] the output so far, always relative to w.largest
#include "avo_abi.h"

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <memory>

namespace {

constexpr int kHeadDim = 64;
constexpr int kVectorBytes = 32;  // one vector register
constexpr int kTileQ = 64;        // queries in a tile
constexpr int kTileK = 64;        // keys in a tile
constexpr bool kBaseTwo = false;  // scores carry a factor log2(e), so that exp is 2^x
constexpr float kMasked = -1e30f;

// [block vector]
constexpr int kLanes = kVectorBytes / 4;
typedef float Floats __attribute__((vector_size(kVectorBytes)));
typedef float FloatsAnywhere __attribute__((vector_size(kVectorBytes), aligned(4), may_alias));
typedef std::int32_t Ints __attribute__((vector_size(kVectorBytes)));

inline Floats load(const float* p) { return *reinterpret_cast<const FloatsAnywhere*>(p); }
inline void store(float* p, Floats x) { *reinterpret_cast<FloatsAnywhere*>(p) = x; }
inline Floats splat(float x) { return Floats{} + x; }
inline Floats larger(Floats a, Floats b) { return a > b ? a : b; }
// [end vector]

static_assert(kTileQ % kLanes == 0 && kHeadDim % kLanes == 0, "tiles are whole vectors");

// [block exp]
// 2^x, or e^x, by a polynomial of degree 5 on [-1/2, 1/2]: relative error at most 2.1e-7. Adding 1.5 * 2^23 rounds x
// to the nearest integer, which then lies in the low bits and is shifted into the exponent. Below 2^-126 it stays there.
inline Floats exponential(Floats x) {
    if constexpr (!kBaseTwo) x *= splat(1.44269504f);
    // [block exp_split]
    x = larger(x, splat(-126.0f));
    const Floats n = x + splat(12582912.0f);
    const Floats f = x - (n - splat(12582912.0f));
    // [end exp_split]
    // [block polynomial]
    Floats p = splat(1.32764720e-3f);
    p = p * f + splat(9.67554133e-3f);
    p = p * f + splat(5.55071327e-2f);
    p = p * f + splat(2.40221197e-1f);
    p = p * f + splat(6.93146967e-1f);
    p = p * f + splat(1.00000007f);
    // [end polynomial]
    // [block exp_join]
    return reinterpret_cast<Floats>(reinterpret_cast<Ints>(p) + (reinterpret_cast<Ints>(n) << 23));
    // [end exp_join]
}
// [end exp]

struct alignas(64) Scratch {
    float q[kHeadDim * kTileQ];
    float s[kTileK * kTileQ];
    float o[kTileQ * kHeadDim];
    float largest[kTileQ], sum[kTileQ], shrink[kTileQ];
    int group;
};

// Where row r of a tile lies. `group` query heads share a tile: row r is head r % group of position r / group.
inline std::size_t row_offset(int r, int group, std::size_t stride) {
    return r / group * stride + r % group * kHeadDim;
}

// [block pack]
// Transposes the tile's queries; rows that do not exist become zeros and are never written out.
void pack_queries(Scratch& w, const float* q, std::size_t stride, int rows, [[maybe_unused]] float scale) {
    for (int r = 0; r < kTileQ; ++r)
        for (int d = 0; d < kHeadDim; ++d) w.q[d * kTileQ + r] = r < rows ? q[row_offset(r, w.group, stride) + d] : 0.0f;
}
// [end pack]

// [block scores]
// Scores of `keys` keys against the whole query tile. Row r sees key j when j <= r / group + reach.
void score_tile(Scratch& w, const float* k, std::size_t stride, int keys, [[maybe_unused]] int reach) {
    for (int j = 0; j < keys; ++j) {
        for (int c = 0; c < kTileQ; c += kLanes) {
            Floats sum{};
            for (int d = 0; d < kHeadDim; ++d) sum += k[j * stride + d] * load(w.q + d * kTileQ + c);
            store(w.s + j * kTileQ + c, sum);
        }
    }
}
// [end scores]

// [block scale]
void scale_tile(Scratch& w, int keys, float scale) {
    for (int i = 0; i < keys * kTileQ; ++i) w.s[i] *= scale;
}
// [end scale]

// [block mask]
void mask_tile(Scratch& w, int keys, int reach) {
    for (int j = 0; j < keys; ++j)
        for (int r = 0; r < kTileQ; ++r)
            if (j > r / w.group + reach) w.s[j * kTileQ + r] = kMasked;
}
// [end mask]

// [block maximum]
// The largest score of every query, of this tile and all before.
void raise_maximum(Scratch& w, int keys, [[maybe_unused]] int reach, Floats* largest) {
    for (int j = 0; j < keys; ++j)
        for (int c = 0; c < kTileQ / kLanes; ++c) largest[c] = larger(largest[c], load(w.s + j * kTileQ + c * kLanes));
}
// [end maximum]

// [block softmax]
// Scores become weights exp(score - largest). What was summed before shrinks by exp(old largest - new largest).
void softmax_tile(Scratch& w, int keys, int reach) {
    constexpr int kVectors = kTileQ / kLanes;
    Floats largest[kVectors], sum[kVectors];
    for (int c = 0; c < kVectors; ++c) largest[c] = load(w.largest + c * kLanes);
    raise_maximum(w, keys, reach, largest);
    // [block raise]
    // [end raise]
    for (int c = 0; c < kVectors; ++c) {
        const Floats shrink = exponential(load(w.largest + c * kLanes) - largest[c]);
        store(w.shrink + c * kLanes, shrink);
        store(w.largest + c * kLanes, largest[c]);
        sum[c] = load(w.sum + c * kLanes) * shrink;
    }
    for (int j = 0; j < keys; ++j) {
        for (int c = 0; c < kVectors; ++c) {
            float* s = w.s + j * kTileQ + c * kLanes;
            const Floats weight = exponential(load(s) - largest[c]);
            sum[c] += weight;
            store(s, weight);
        }
    }
    for (int c = 0; c < kVectors; ++c) store(w.sum + c * kLanes, sum[c]);
}
// [end softmax]

// [block rescale]
void rescale_output(Scratch& w) {
    for (int r = 0; r < kTileQ; ++r)
        for (int d = 0; d < kHeadDim; ++d) w.o[r * kHeadDim + d] *= w.shrink[r];
}
// [end rescale]

// [block values]
// Adds the weighted values of `keys` keys to the output. A masked weight is zero.
void value_tile(Scratch& w, const float* v, std::size_t stride, int keys, [[maybe_unused]] int reach) {
    for (int r = 0; r < kTileQ; ++r)
        for (int j = 0; j < keys; ++j)
            for (int d = 0; d < kHeadDim; d += kLanes)
                store(w.o + r * kHeadDim + d,
                      load(w.o + r * kHeadDim + d) + w.s[j * kTileQ + r] * load(v + j * stride + d));
}
// [end values]

// [block write]
void write_rows(const Scratch& w, float* o, std::size_t stride, int rows) {
    for (int r = 0; r < rows; ++r)
        for (int d = 0; d < kHeadDim; ++d) o[row_offset(r, w.group, stride) + d] = w.o[r * kHeadDim + d] / w.sum[r];
}
// [end write]

// [block tile]
// One tile of queries, from position `first` on.
void attend_tile(Scratch& w, const float* q, const float* k, const float* v, float* o, std::size_t stride_q,
                 std::size_t stride_kv, int first, int seqlen, bool causal, float scale) {
    // [block mode]
    // [end mode]
    const int positions = std::min(kTileQ / w.group, seqlen - first);
    const int rows = positions * w.group;
    pack_queries(w, q, stride_q, rows, scale);
    std::fill(w.o, w.o + kTileQ * kHeadDim, 0.0f);
    std::fill(w.largest, w.largest + kTileQ, kMasked);
    std::fill(w.sum, w.sum + kTileQ, 0.0f);
    const int visible = causal ? first + positions : seqlen;  // tiles past the diagonal are masked
    for (int j = 0; j < visible; j += kTileK) {
        const int keys = std::min(kTileK, visible - j);
        const int reach = causal ? first - j : seqlen;
        // [block operands]
        const float *key = k + j * stride_kv, *value = v + j * stride_kv;
        const std::size_t stride_key = stride_kv;
        // [end operands]
        score_tile(w, key, stride_key, keys, reach);
        scale_tile(w, keys, scale);
        if (reach < keys - 1) mask_tile(w, keys, reach);
        // [block ahead]
        // [end ahead]
        softmax_tile(w, keys, reach);
        rescale_output(w);
        value_tile(w, value, stride_kv, keys, reach);
    }
    write_rows(w, o, stride_q, rows);
}
// [end tile]

}  // namespace

extern "C" void attention_forward(const float* q, const float* k, const float* v, float* o, int batch, int heads_q,
                                  int heads_kv, int seqlen, int head_dim, int causal, float scale) {
    if (head_dim != kHeadDim) return;  // the problem asks for 64 only; poison in o makes anything else fail
    const int group = heads_q / heads_kv;
    const std::size_t stride_q = static_cast<std::size_t>(heads_q) * kHeadDim;
    const std::size_t stride_kv = static_cast<std::size_t>(heads_kv) * kHeadDim;
    // [block share]
    const int share = 1;  // query heads in one tile
    // [end share]
    const int heads = heads_q / share;
    const int positions = kTileQ / share;
    const int tiles = (seqlen + positions - 1) / positions;
    const auto attend = [&](int b, int h, int tile) {
        // [block scratch]
        const auto own = std::make_unique<Scratch>();
        Scratch& w = *own;
        // [end scratch]
        w.group = share;
        const std::size_t token = static_cast<std::size_t>(b) * seqlen;
        const std::size_t row = (token + tile * positions) * stride_q + h * share * kHeadDim;
        const std::size_t key = token * stride_kv + (h * share / group) * kHeadDim;
        attend_tile(w, q + row, k + key, v + key, o + row, stride_q, stride_kv, tile * positions, seqlen, causal, scale);
    };
    // [block schedule]
    for (int b = 0; b < batch; ++b) {
        for (int h = 0; h < heads; ++h) {
#pragma omp parallel for schedule(static)
            for (int tile = 0; tile < tiles; ++tile) attend(b, h, tile);
        }
    }
    // [end schedule]
}
