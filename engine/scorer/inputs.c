/* What the judge draws for one call: its inputs, the rows that it makes telling, and which elements of its output are
 * looked at early.
 * One rule: every byte comes from seeds that the kernel's own generator gave for this one call, so that nobody who saw
 * earlier calls knows anything of the next.
 */
#include <pthread.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#if defined(__AVX__)
#include <immintrin.h>
#endif

#if defined(__AVX512F__)
enum { BYTES = 64 };
#elif defined(__AVX2__)
enum { BYTES = 32 };
#else
enum { BYTES = 16 };
#endif
enum { LANES = BYTES / 4, MAX_THREADS = 16 };

typedef uint32_t Words __attribute__((vector_size(BYTES)));
typedef int32_t Ints __attribute__((vector_size(BYTES)));
typedef float Floats __attribute__((vector_size(BYTES)));

/* ln(x) for x in (0, 1], about 1e-6 absolute: exponent by bit pattern, mantissa by a polynomial in (m-1)/(m+1). */
static inline Floats log_unit(Floats x) {
    Words bits = (Words)x;
    Floats exponent = __builtin_convertvector((Ints)(bits >> 23) - 127, Floats);
    Floats m = (Floats)((bits & 0x007fffffu) | 0x3f800000u);
    Floats s = (m - 1.0f) / (m + 1.0f), s2 = s * s;
    Floats p = 2.0f * s * (1.0f + s2 * (0.33333333f + s2 * (0.2f + s2 * (0.14285714f + s2 * 0.11111111f))));
    return p + 0.69314718f * exponent;
}

/* sin(2 pi t) for t in [-0.5, 0.5): odd polynomial after folding to a quarter turn. */
static inline Floats sin_turn(Floats t) {
    Words sign = (Words)t & 0x80000000u;
    Floats size = (Floats)((Words)t & 0x7fffffffu), other = 0.5f - size;
    Words over = (Words)(size > 0.25f);
    Floats x = 6.28318531f * (Floats)((((Words)other & over) | ((Words)size & ~over)) | sign), x2 = x * x;
    return x * (1.0f + x2 * (-0.16666667f + x2 * (8.3333333e-3f + x2 * (-1.98412698e-4f + x2 * 2.7557319e-6f))));
}

/* Square roots; what log_unit's error makes negative counts as positive. */
static inline Floats root(Floats x) {
    x = (Floats)((Words)x & 0x7fffffffu);
#if defined(__AVX512F__)
    return (Floats)_mm512_sqrt_ps((__m512)x);
#elif defined(__AVX2__)
    return (Floats)_mm256_sqrt_ps((__m256)x);
#else
    for (int i = 0; i < LANES; ++i) x[i] = __builtin_sqrtf(x[i]);
    return x;
#endif
}

typedef struct { Words a, b, c, d; } Streams;

/* xoshiro128+ (Blackman and Vigna 2018), one stream a lane. */
static inline Words draw(Streams *g) {
    Words r = g->a + g->d, t = g->b << 9;
    g->c ^= g->a, g->d ^= g->b, g->b ^= g->c, g->a ^= g->d, g->c ^= t;
    g->d = (g->d << 11) | (g->d >> 21);
    return r;
}

/* Two vectors of normal floats (Box and Muller 1958). */
static inline void normals(Streams *g, Floats out[2]) {
    Floats u = (__builtin_convertvector((Ints)(draw(g) >> 8), Floats) + 1.0f) * 5.9604645e-8f;
    Floats t = __builtin_convertvector((Ints)draw(g) >> 8, Floats) * 5.9604645e-8f; /* [-0.5, 0.5) */
    Floats radius = root(-2.0f * log_unit(u)), quarter = t + 0.25f;
    quarter -= (Floats)((Words)(quarter >= 0.5f) & 0x3f800000u); /* back into [-0.5, 0.5) */
    out[0] = radius * sin_turn(t);
    out[1] = radius * sin_turn(quarter);
}

static uint64_t splitmix(uint64_t *x) {
    uint64_t z = (*x += 0x9e3779b97f4a7c15ull);
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ull;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebull;
    return z ^ (z >> 31);
}

/* One tensor to fill: `count` floats of N(0, 1), plus shift[i % period] when shift is given. */
typedef struct { float *out; size_t count; const float *shift; size_t period; } Tensor;

typedef struct { const Tensor *tensors; int count, part, parts; uint64_t seed; } FillJob;

/* One block of normals, shifted, to where it belongs; the last block of a part may be cut short. */
static inline void put(float *to, const Floats block[2], size_t n) {
    if (n == 2 * LANES)
        memcpy(to, block, 2 * BYTES);
    else
        memcpy(to, block, n * sizeof(float));
}

static void fill(Streams *g, const Tensor *tensor, size_t begin, size_t end) {
    Floats block[2], shift[2];
    float *values = (float *)block;
    const size_t period = tensor->period;
    size_t at = tensor->shift ? begin % period : 0;
    for (size_t done = begin; done < end; done += 2 * LANES) {
        normals(g, block);
        if (tensor->shift && at + 2 * LANES <= period) {
            memcpy(shift, tensor->shift + at, sizeof shift);
            block[0] += shift[0], block[1] += shift[1];
            at = at + 2 * LANES == period ? 0 : at + 2 * LANES;
        } else if (tensor->shift) {
            for (size_t i = 0; i < 2 * LANES; ++i, at = at + 1 == period ? 0 : at + 1) values[i] += tensor->shift[at];
        }
        put(tensor->out + done, block, end - done < 2 * LANES ? end - done : 2 * LANES);
    }
}

static void *fill_part(void *argument) {
    FillJob *job = argument;
    Streams g;
    uint64_t seed = job->seed;
    for (int i = 0; i < LANES; ++i) {
        uint64_t x = splitmix(&seed), y = splitmix(&seed);
        g.a[i] = (uint32_t)x, g.b[i] = (uint32_t)(x >> 32), g.c[i] = (uint32_t)y, g.d[i] = (uint32_t)(y >> 32) | 1u;
    }
    for (int t = 0; t < job->count; ++t) {
        const size_t count = job->tensors[t].count, size = (count / job->parts + 63) / 64 * 64;
        const size_t begin = size * job->part, end = job->part + 1 < job->parts ? begin + size : count;
        fill(&g, &job->tensors[t], begin < count ? begin : count, end < count ? end : count);
    }
    return NULL;
}

/* Fill the tensors of one call. `seeds` holds one per thread. */
void hands_fill(const Tensor *tensors, int count, const uint64_t *seeds, int threads) {
    FillJob jobs[MAX_THREADS];
    pthread_t ids[MAX_THREADS];
    int started[MAX_THREADS] = {0};
    size_t all = 0;
    for (int t = 0; t < count; ++t) all += tensors[t].count;
    if (threads > MAX_THREADS) threads = MAX_THREADS;
    if (threads < 1 || all < 65536) threads = 1;
    for (int t = 0; t < threads; ++t) {
        jobs[t] = (FillJob){tensors, count, t, threads, seeds[t]};
        if (t + 1 < threads) started[t] = pthread_create(&ids[t], NULL, fill_part, &jobs[t]) == 0;
        if (!started[t]) fill_part(&jobs[t]);
    }
    for (int t = 0; t < threads; ++t)
        if (started[t]) pthread_join(ids[t], NULL);
}

/* `samples` random indices below `count`. */
void hands_choose(uint32_t *where, size_t samples, uint64_t count, uint64_t seed) {
    for (size_t i = 0; i < samples; ++i) where[i] = (uint32_t)(((__uint128_t)splitmix(&seed) * count) >> 64);
}

/* One position of some queries [batch, seqlen, heads_q, head_dim]. */
typedef struct { float *q; int batch, seqlen, heads_q, heads_kv, head_dim, position; } Queries;

static float *queries_of(const Queries *at, int batch) {
    return at->q + ((size_t)batch * at->seqlen + at->position) * at->heads_q * at->head_dim;
}

/* Multiply that position's queries, in every batch and head: their logits spread so much the more. */
void hands_heat(const Queries *at, float factor) {
    const size_t width = (size_t)at->heads_q * at->head_dim;
    for (int b = 0; b < at->batch; ++b)
        for (size_t i = 0; i < width; ++i) queries_of(at, b)[i] *= factor;
}

/* Make that position's queries `strength` times a key of k [batch, seqlen, heads_kv, head_dim], so that it stands out. */
void hands_align(const Queries *at, const float *k, int key, float strength) {
    const int group = at->heads_q / at->heads_kv, width = at->head_dim;
    for (int b = 0; b < at->batch; ++b) {
        const float *keys = k + ((size_t)b * at->seqlen + key) * at->heads_kv * width;
        for (int h = 0; h < at->heads_q; ++h)
            for (int d = 0; d < width; ++d)
                queries_of(at, b)[(size_t)h * width + d] = keys[(size_t)(h / group) * width + d] * strength;
    }
}
