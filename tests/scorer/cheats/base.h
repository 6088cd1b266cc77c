// An honest, reasonably quick kernel that the cheats build on: cheat.cpp does its trick around honest().
// Without <vector>, <cmath> and <algorithm>: eighty cheats are compiled, and reading those takes two thirds of it.
#pragma once
#include <cstddef>
#include <cstdint>
#include <cstring>

struct Shape {
    int batch, heads_q, heads_kv, seqlen, head_dim, causal;
    float scale;
    std::size_t elements() const { return std::size_t(batch) * seqlen * heads_q * head_dim; }
};

// Room for `count` floats, for as long as it is in sight.
struct Floats {
    float* at;
    explicit Floats(std::size_t count) : at(new float[count]) {}
    Floats(const Floats&) = delete;
    ~Floats() { delete[] at; }
    float& operator[](std::size_t i) const { return at[i]; }
};

// One (batch, head): rows [begin, end).
static inline void honest_rows(const float* q, const float* k, const float* v, float* o, const Shape& s, int b, int h,
                               int begin, int end) {
    const int group = s.heads_q / s.heads_kv, width = s.head_dim;
    const Floats weight(s.seqlen + 16), sum(width);
    for (int i = begin; i < end; ++i) {
        const float* query = q + ((std::size_t(b) * s.seqlen + i) * s.heads_q + h) * width;
        const int keys = s.causal ? i + 1 : s.seqlen;
        float largest = -__builtin_inff();
        for (int j = 0; j < keys; ++j) {
            const float* key = k + ((std::size_t(b) * s.seqlen + j) * s.heads_kv + h / group) * width;
            float dot = 0.0f;
#pragma omp simd reduction(+ : dot)
            for (int d = 0; d < width; ++d) dot += query[d] * key[d];
            weight[j] = dot * s.scale;
            largest = weight[j] > largest ? weight[j] : largest;
        }
        float total = 0.0f;
        for (int j = 0; j < keys; ++j) total += weight[j] = __builtin_expf(weight[j] - largest);
        for (int d = 0; d < width; ++d) sum[d] = 0.0f;
        for (int j = 0; j < keys; ++j) {
            const float* value = v + ((std::size_t(b) * s.seqlen + j) * s.heads_kv + h / group) * width;
            for (int d = 0; d < width; ++d) sum[d] += weight[j] * value[d];
        }
        float* out = o + ((std::size_t(b) * s.seqlen + i) * s.heads_q + h) * width;
        for (int d = 0; d < width; ++d) out[d] = sum[d] / total;
    }
}

static inline void honest(const float* q, const float* k, const float* v, float* o, const Shape& s) {
#pragma omp parallel for collapse(2) schedule(dynamic)
    for (int b = 0; b < s.batch; ++b)
        for (int h = 0; h < s.heads_q; ++h) honest_rows(q, k, v, o, s, b, h, 0, s.seqlen);
}

// The body of attention_forward, with the arguments as `s`.
#define FORWARD(...)                                                                                          \
    extern "C" void attention_forward(const float* q, const float* k, const float* v, float* o, int batch,    \
                                      int heads_q, int heads_kv, int seqlen, int head_dim, int causal,        \
                                      float scale) {                                                          \
        const Shape s{batch, heads_q, heads_kv, seqlen, head_dim, causal, scale};                              \
        (void)q, (void)k, (void)v, (void)o, (void)s;                                                          \
        __VA_ARGS__                                                                                           \
    }
