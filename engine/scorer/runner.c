/* The worker: loads one candidate and calls it when told to. It owns nothing: not the clock, not the inputs, not the
 * verdict. One rule: everything in this process may be forged by the candidate, so nothing here is believed.
 *
 *   runner CANDIDATE.so REQUESTS REPLIES INPUTS OUTPUT      four descriptors: pipe in, pipe out, sealed memory, memory
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <unistd.h>

typedef struct {
    uint64_t nonce;
    uint64_t q, k, v, o;
    int32_t batch, heads_q, heads_kv, seqlen, head_dim, causal;
    float scale;
    uint32_t reserved;
} Request;

typedef struct { uint64_t nonce; int32_t status; uint32_t reserved; } Reply;

typedef void (*Forward)(const float *, const float *, const float *, float *, int, int, int, int, int, int, float);

static int requests, replies;

enum { READY = 0, NO_ARENA = 1, NO_LOAD = 2, NO_SYMBOL = 3 };

static int reply(uint64_t nonce, int32_t status) {
    Reply r = {nonce, status, 0};
    return write(replies, &r, sizeof r) == (ssize_t)sizeof r ? 0 : -1;
}

static char *arena(int fd, int protection) {
    struct stat s;
    if (fstat(fd, &s) != 0) return NULL;
    void *memory = mmap(NULL, (size_t)s.st_size, protection, MAP_SHARED | MAP_POPULATE, fd, 0);
    close(fd);
    return memory == MAP_FAILED ? NULL : memory;
}

int main(int argc, char **argv) {
    if (argc != 6) return 64;
    prctl(PR_SET_PDEATHSIG, SIGKILL); /* a scorer that is killed leaves no worker behind */
    requests = atoi(argv[2]), replies = atoi(argv[3]);
    char *in = arena(atoi(argv[4]), PROT_READ), *out = arena(atoi(argv[5]), PROT_READ | PROT_WRITE);
    if (!in || !out) return reply(0, NO_ARENA), 1;

    void *candidate = dlopen(argv[1], RTLD_NOW | RTLD_LOCAL);
    if (!candidate) {
        fprintf(stderr, "%s\n", dlerror());
        return reply(0, NO_LOAD), 1;
    }
    Forward forward;
    *(void **)&forward = dlsym(candidate, "attention_forward");
    if (!forward) return reply(0, NO_SYMBOL), 1;
    if (reply(0, READY) != 0) return 1;

    for (Request r; ; ) {
        ssize_t n = read(requests, &r, sizeof r);
        if (n < 0 && errno == EINTR) continue;
        if (n != (ssize_t)sizeof r) return n == 0 ? 0 : 1;
        forward((const float *)(in + r.q), (const float *)(in + r.k), (const float *)(in + r.v), (float *)(out + r.o),
                r.batch, r.heads_q, r.heads_kv, r.seqlen, r.head_dim, r.causal, r.scale);
        if (reply(r.nonce, 0) != 0) return 1;
    }
}
