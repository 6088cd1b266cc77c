/* The judge's hands: what it does to shared memory and to the clock, too fast for Python to do without disturbing
 * what it measures. Loaded into the judge, never into a worker. One rule: the candidate is frozen whenever this code
 * touches its inputs or its output, except between "go" and "done".
 *
 * Timing one call: the worker is stopped; the request is already in its pipe; the clock
 * starts; SIGCONT; its reply arrives; the clock stops; random elements of the output are copied; SIGSTOP; wait until
 * every thread has stopped. Starting the clock before SIGCONT leaves no moment in which inputs can be seen untimed.
 */
#define _GNU_SOURCE
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

/* ---- Fresh inputs: N(0, 1), every byte from a seed that the kernel's own generator gave for this one call ------- */

enum { LANES = 16, MAX_THREADS = 16 };

typedef uint32_t Words __attribute__((vector_size(64)));
typedef int32_t Ints __attribute__((vector_size(64)));
typedef float Floats __attribute__((vector_size(64)));

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

typedef struct { Words a, b, c, d; } Streams;

/* xoshiro128+ (Blackman and Vigna 2018), sixteen streams side by side. */
static inline Words draw(Streams *g) {
    Words r = g->a + g->d, t = g->b << 9;
    g->c ^= g->a, g->d ^= g->b, g->b ^= g->c, g->a ^= g->d, g->c ^= t;
    g->d = (g->d << 11) | (g->d >> 21);
    return r;
}

/* Thirty-two normal floats (Box and Muller 1958). */
static inline void normals(Streams *g, Floats out[2]) {
    Floats u = (__builtin_convertvector((Ints)(draw(g) >> 8), Floats) + 1.0f) * 5.9604645e-8f;
    Floats t = __builtin_convertvector((Ints)draw(g) >> 8, Floats) * 5.9604645e-8f; /* [-0.5, 0.5) */
    Floats radius = -2.0f * log_unit(u) + 1e-9f, quarter = t + 0.25f;
    float roots[LANES];
    memcpy(roots, &radius, sizeof roots);
    for (int i = 0; i < LANES; ++i) roots[i] = sqrtf(fabsf(roots[i]));
    memcpy(&radius, roots, sizeof roots);
    quarter -= (Floats)((Words)(quarter >= 0.5f) & 0x3f800000u); /* back into [-0.5, 0.5) */
    out[0] = radius * sin_turn(t);
    out[1] = radius * sin_turn(quarter);
}

typedef struct { float *out; size_t count; const float *shift; size_t period, phase; uint64_t seed; } FillJob;

static uint64_t splitmix(uint64_t *x) {
    uint64_t z = (*x += 0x9e3779b97f4a7c15ull);
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ull;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebull;
    return z ^ (z >> 31);
}

static void *fill_part(void *argument) {
    FillJob *job = argument;
    Streams g;
    Floats block[2];
    uint64_t seed = job->seed;
    for (int i = 0; i < LANES; ++i) {
        uint64_t x = splitmix(&seed), y = splitmix(&seed);
        g.a[i] = (uint32_t)x, g.b[i] = (uint32_t)(x >> 32), g.c[i] = (uint32_t)y, g.d[i] = (uint32_t)(y >> 32) | 1u;
    }
    size_t at = job->phase;
    for (size_t done = 0; done < job->count; done += 2 * LANES) {
        size_t n = job->count - done < 2 * LANES ? job->count - done : 2 * LANES;
        normals(&g, block);
        float *values = (float *)block, *out = job->out + done;
        if (job->shift && at + n <= job->period) {
            for (size_t i = 0; i < n; ++i) values[i] += job->shift[at + i];
            at = at + n == job->period ? 0 : at + n;
        } else if (job->shift) {
            for (size_t i = 0; i < n; ++i, at = at + 1 == job->period ? 0 : at + 1) values[i] += job->shift[at];
        }
        memcpy(out, values, n * sizeof(float));
    }
    return NULL;
}

/* Fill `count` floats with N(0, 1), plus shift[i % period] when shift is given. `seeds` holds one per thread. */
void hands_fill(float *out, size_t count, const float *shift, size_t period, const uint64_t *seeds, int threads) {
    FillJob jobs[MAX_THREADS];
    pthread_t ids[MAX_THREADS];
    if (threads > MAX_THREADS) threads = MAX_THREADS;
    if (threads < 1 || count < 65536) threads = 1;
    size_t part = (count / threads + 63) / 64 * 64;
    int started[MAX_THREADS] = {0};
    for (int t = 0; t < threads; ++t) {
        size_t begin = part * t < count ? part * t : count;
        size_t end = begin + part < count && t + 1 < threads ? begin + part : count;
        jobs[t] = (FillJob){out + begin, end - begin, shift, period, shift ? begin % period : 0, seeds[t]};
        if (t + 1 < threads) started[t] = pthread_create(&ids[t], NULL, fill_part, &jobs[t]) == 0;
        if (!started[t]) fill_part(&jobs[t]);
    }
    for (int t = 0; t < threads; ++t)
        if (started[t]) pthread_join(ids[t], NULL);
}

/* Fill `words` 32-bit words with one pattern: the poison of an output, the guard bands around every tensor. */
void hands_poison(uint32_t *out, size_t words, uint32_t pattern) {
    for (size_t i = 0; i < words; ++i) out[i] = pattern;
}

/* How many of `words` words no longer hold the pattern. */
size_t hands_disturbed(const uint32_t *memory, size_t words, uint32_t pattern) {
    size_t changed = 0;
    for (size_t i = 0; i < words; ++i) changed += memory[i] != pattern;
    return changed;
}

/* Index of the first element that is not finite, or -1. */
int64_t hands_first_not_finite(const uint32_t *memory, size_t words) {
    for (size_t begin = 0; begin < words; begin += 4096) {
        size_t end = begin + 4096 < words ? begin + 4096 : words;
        uint32_t bad = 0;
        for (size_t i = begin; i < end; ++i) bad |= (memory[i] & 0x7f800000u) == 0x7f800000u;
        for (size_t i = begin; bad && i < end; ++i)
            if ((memory[i] & 0x7f800000u) == 0x7f800000u) return (int64_t)i;
    }
    return -1;
}

/* ---- One call ------------------------------------------------------------------------------------------------- */

typedef struct {
    uint64_t nonce;
    uint64_t q, k, v, o; /* byte offsets into the arenas */
    int32_t batch, heads_q, heads_kv, seqlen, head_dim, causal;
    float scale;
    uint32_t reserved;
} Request;

typedef struct { uint64_t nonce; int32_t status; uint32_t reserved; } Reply;

enum { DONE = 0, TIMED_OUT = 1, GONE = 2, FORGED = 3, NOT_STOPPED = 4, BROKEN = 5 };

static int64_t now_ns(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC_RAW, &t);
    return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

/* 1 when every thread of `pid` is stopped or dead, 0 when one still runs, -1 when the process is gone. */
static int all_stopped(int pid) {
    char path[300], text[512];
    snprintf(path, sizeof path, "/proc/%d/task", pid);
    DIR *tasks = opendir(path);
    if (!tasks) return -1;
    int stopped = 1, seen = 0;
    for (struct dirent *entry; stopped && (entry = readdir(tasks));) {
        if (entry->d_name[0] == '.') continue;
        snprintf(path, sizeof path, "/proc/%d/task/%s/stat", pid, entry->d_name);
        int fd = open(path, O_RDONLY | O_CLOEXEC);
        if (fd < 0) continue; /* it ended between the listing and now */
        ssize_t n = read(fd, text, sizeof text - 1);
        close(fd);
        if (n <= 0) continue;
        text[n] = 0;
        char *end = strrchr(text, ')'); /* the name before it may hold anything */
        if (!end || end[1] != ' ') continue;
        char state = end[2];
        ++seen;
        if (state != 'T' && state != 't' && state != 'Z' && state != 'X') stopped = 0;
    }
    closedir(tasks);
    return seen ? stopped : -1;
}

/* Stop a worker and wait until every thread has stopped. DONE, GONE or NOT_STOPPED (after `timeout_ns`). */
int hands_freeze(int pid, int64_t timeout_ns) {
    if (kill(pid, SIGSTOP) != 0) return GONE;
    int64_t deadline = now_ns() + timeout_ns;
    for (int spins = 0;; ++spins) {
        int state = all_stopped(pid);
        if (state == 1) return DONE;
        if (state < 0) return GONE;
        if (now_ns() > deadline) return NOT_STOPPED;
        if (spins > 4) usleep(20);
    }
}

/* Wait for one reply. DONE, TIMED_OUT, GONE (the pipe closed) or BROKEN. */
int hands_wait(int reply_fd, Reply *reply, int64_t timeout_ns) {
    int64_t deadline = now_ns() + timeout_ns;
    for (;;) {
        int64_t left = deadline - now_ns();
        if (left <= 0) return TIMED_OUT;
        struct pollfd p = {reply_fd, POLLIN, 0};
        struct timespec wait = {left / 1000000000, left % 1000000000};
        int ready = ppoll(&p, 1, &wait, NULL);
        if (ready < 0 && errno != EINTR) return BROKEN;
        if (ready <= 0) continue;
        ssize_t n = read(reply_fd, reply, sizeof *reply);
        if (n == (ssize_t)sizeof *reply) return DONE;
        if (n == 0) return GONE;
        return n < 0 && errno == EINTR ? TIMED_OUT : FORGED;
    }
}

/* Copy the sampled elements. */
void hands_take(const uint32_t *output, const uint32_t *where, uint32_t *early, size_t samples) {
    for (size_t i = 0; i < samples; ++i) early[i] = output[where[i]];
}

/* One timed call of a frozen worker; it is frozen again on return. `early` receives output[where[i]] as it is at the
 * moment of the reply. `elapsed_ns` runs from before SIGCONT to after the reply. */
int hands_call(int pid, int request_fd, int reply_fd, const Request *request, int64_t timeout_ns, const uint32_t *output,
               const uint32_t *where, uint32_t *early, size_t samples, int64_t *elapsed_ns) {
    Reply reply;
    *elapsed_ns = 0;
    if (write(request_fd, request, sizeof *request) != (ssize_t)sizeof *request) return GONE;
    int64_t begin = now_ns();
    if (kill(pid, SIGCONT) != 0) return GONE;
    int outcome = hands_wait(reply_fd, &reply, timeout_ns);
    *elapsed_ns = now_ns() - begin;
    if (outcome != DONE) return outcome;
    hands_take(output, where, early, samples);
    outcome = hands_freeze(pid, 2000000000);
    if (outcome != DONE) return outcome;
    if (reply.nonce != request->nonce || reply.status != 0) return FORGED;
    struct pollfd p = {reply_fd, POLLIN, 0}; /* exactly one reply: a second one was not ours */
    return poll(&p, 1, 0) > 0 && (p.revents & POLLIN) ? FORGED : DONE;
}

/* How many sampled elements changed after the reply. */
size_t hands_changed(const uint32_t *output, const uint32_t *where, const uint32_t *early, size_t samples) {
    size_t changed = 0;
    for (size_t i = 0; i < samples; ++i) changed += output[where[i]] != early[i];
    return changed;
}

/* `samples` random indices below `count`. */
void hands_choose(uint32_t *where, size_t samples, uint64_t count, uint64_t seed) {
    for (size_t i = 0; i < samples; ++i) where[i] = (uint32_t)(((__uint128_t)splitmix(&seed) * count) >> 64);
}

/* ---- This machine's peak: fused multiply-adds on registers only, nothing else ---------------------------------- */

#if defined(__AVX512F__)
enum { VECTOR_BYTES = 64, CHAINS = 24 };
#elif defined(__AVX__)
enum { VECTOR_BYTES = 32, CHAINS = 12 };
#else
enum { VECTOR_BYTES = 16, CHAINS = 12 };
#endif
typedef float Vector __attribute__((vector_size(VECTOR_BYTES)));
typedef struct { int64_t until_ns; double flops; float sink; } PeakJob;

static void *peak_part(void *argument) {
    PeakJob *job = argument;
    Vector x[CHAINS], a, b;
    for (int i = 0; i < (int)(sizeof(Vector) / sizeof(float)); ++i) a[i] = 0.999f, b[i] = 0.001f;
    for (int c = 0; c < CHAINS; ++c) x[c] = a * (float)c;
    do {
        for (int n = 0; n < 20000; ++n) {
#pragma GCC unroll 32
            for (int c = 0; c < CHAINS; ++c) x[c] = x[c] * a + b;
            __asm__ volatile("" : "+x"(a)); /* each round happens */
        }
        job->flops += 20000.0 * CHAINS * 2.0 * (sizeof(Vector) / sizeof(float));
    } while (now_ns() < job->until_ns);
    for (int c = 1; c < CHAINS; ++c) x[0] += x[c];
    job->sink = x[0][0];
    return NULL;
}

/* float32 GFLOPS of `threads` threads over about `milliseconds`. */
double hands_peak(int threads, int milliseconds) {
    PeakJob jobs[256];
    pthread_t ids[256];
    if (threads > 256) threads = 256;
    int64_t begin = now_ns();
    int started = 0;
    for (; started < threads; ++started) {
        jobs[started] = (PeakJob){begin + (int64_t)milliseconds * 1000000, 0.0, 0.0f};
        if (pthread_create(&ids[started], NULL, peak_part, &jobs[started]) != 0) break;
    }
    double flops = 0.0;
    for (int t = 0; t < started; ++t) pthread_join(ids[t], NULL), flops += jobs[t].flops;
    return flops / (double)(now_ns() - begin);
}
