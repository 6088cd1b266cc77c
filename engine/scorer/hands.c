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
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

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

typedef struct { char *to; const char *from; size_t bytes; } CopyJob;

static void *copy_part(void *argument) {
    const CopyJob *job = argument;
    memcpy(job->to, job->from, job->bytes);
    return NULL;
}

/* Bytes read and written per nanosecond by the best of a few copies of `bytes`, shared by `threads`; 0 without memory. */
double hands_copy_rate(int threads, size_t bytes) {
    CopyJob jobs[256];
    pthread_t ids[256];
    double best = 0.0;
    char *from = malloc(bytes), *to = malloc(bytes);
    if (threads > 256) threads = 256;
    if (from && to) memset(from, 1, bytes), memset(to, 1, bytes);
    for (int copies = 0; from && to && copies < 4; ++copies) {
        const int64_t begin = now_ns();
        int started = 0;
        for (; started < threads; ++started) {
            const size_t at = bytes / threads * started, end = started + 1 < threads ? at + bytes / threads : bytes;
            jobs[started] = (CopyJob){to + at, from + at, end - at};
            if (pthread_create(&ids[started], NULL, copy_part, &jobs[started]) != 0) break;
        }
        for (int t = 0; t < started; ++t) pthread_join(ids[t], NULL);
        const double rate = 2.0 * (double)bytes / (double)(now_ns() - begin);
        if (started == threads && rate > best) best = rate;
    }
    free(from), free(to);
    return best;
}

/* ---- Neighbours: who shares a core with us ---------------------------------------------------------------------
 *
 * On a core with two hardware threads (and in a virtual machine, whose owner lends one of them to somebody else) a busy
 * neighbour takes issue slots and shows in no counter of ours. Independent additions fill every slot; dependent
 * multiplications need almost none and keep time with the clock. Their ratio rises when slots are taken, whatever the
 * clock does. */

enum { PACE_ROUNDS = 9, ADDITIONS = 400, MULTIPLICATIONS = 400 };

static int64_t additions(uint64_t seed) {
    uint64_t a = seed, b = seed, c = seed, d = seed, e = seed, f = seed;
    int64_t begin = now_ns();
    for (int n = 0; n < ADDITIONS; ++n) {
#pragma GCC unroll 2
        for (int k = 0; k < 2; ++k) {
            a += 1, b += 1, c += 1, d += 1, e += 1, f += 1;
            __asm__ volatile("" : "+r"(a), "+r"(b), "+r"(c), "+r"(d), "+r"(e), "+r"(f));
        }
    }
    return now_ns() - begin;
}

static int64_t multiplications(uint64_t seed) {
    uint64_t x = seed | 1;
    int64_t begin = now_ns();
    for (int n = 0; n < MULTIPLICATIONS; ++n) {
#pragma GCC unroll 4
        for (int k = 0; k < 4; ++k) {
            x *= x;
            __asm__ volatile("" : "+r"(x));
        }
    }
    return now_ns() - begin;
}

typedef struct { int processor; double ratio; } PaceJob;

static int ascending(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static void *pace_part(void *argument) {
    PaceJob *job = argument;
    cpu_set_t own;
    CPU_ZERO(&own);
    CPU_SET(job->processor, &own);
    sched_setaffinity(0, sizeof own, &own);
    double ratios[PACE_ROUNDS];
    for (int i = 0; i < PACE_ROUNDS; ++i) {
        int64_t wide = additions((uint64_t)i);
        ratios[i] = (double)wide / (double)multiplications((uint64_t)i);
    }
    qsort(ratios, PACE_ROUNDS, sizeof ratios[0], ascending);
    job->ratio = ratios[PACE_ROUNDS / 2];
    return NULL;
}

/* The ratio on the `threads`-th freest of our processors: above its least, a neighbour is at work. Takes 0.1 ms. */
double hands_pace(int threads) {
    PaceJob jobs[256];
    pthread_t ids[256];
    double ratios[256];
    cpu_set_t ours;
    if (sched_getaffinity(0, sizeof ours, &ours) != 0) return 0.0;
    int started = 0;
    for (int cpu = 0; cpu < CPU_SETSIZE && started < 256; ++cpu) {
        if (!CPU_ISSET(cpu, &ours)) continue;
        jobs[started] = (PaceJob){cpu, 0.0};
        if (pthread_create(&ids[started], NULL, pace_part, &jobs[started]) != 0) break;
        ++started;
    }
    for (int t = 0; t < started; ++t) pthread_join(ids[t], NULL), ratios[t] = jobs[t].ratio;
    if (started == 0) return 0.0;
    qsort(ratios, (size_t)started, sizeof ratios[0], ascending);
    return ratios[(threads < started ? threads : started) - 1];
}
