/* The worker: loads one candidate and calls it when told to. It owns nothing: not the clock, not the inputs, not the
 * verdict. One rule: everything in this process may be forged by the candidate, so nothing here is believed.
 *
 *   runner CANDIDATE.so REQUESTS REPLIES INPUTS OUTPUT FILTER
 *     four descriptors: pipe in, pipe out, sealed memory, memory; FILTER is 1, or 0 with --unsafe-no-sandbox
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <signal.h>
#include <fcntl.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>

#include "seccomp.h"

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

enum { READY = 0, NO_ARENA = 1, NO_LOAD = 2, NO_SYMBOL = 3, NO_FILTER = 4 };

static int reply(uint64_t nonce, int32_t status) {
    Reply r = {nonce, status, 0};
    return write(replies, &r, sizeof r) == (ssize_t)sizeof r ? 0 : -1;
}

/* As the first process of its namespace it would outlive the signal that abort() sends: end as a shell reports one. */
static void on_abort(int signal) { _exit(128 + signal); }

static char *arena(int fd, int protection) {
    struct stat s;
    if (fstat(fd, &s) != 0) return NULL;
    void *memory = mmap(NULL, (size_t)s.st_size, protection, MAP_SHARED | MAP_POPULATE, fd, 0);
    close(fd);
    return memory == MAP_FAILED ? NULL : memory;
}

/* What a kernel needs: memory, threads, time. Anything hostile kills the process with SIGSYS, so that the verdict can
 * name it; what libraries only try in passing is refused with an error they live with. */
static int lock_down(void) {
    static const long needed[] = {
        __NR_futex, __NR_sched_yield, __NR_read, __NR_write, __NR_mmap, __NR_munmap, __NR_mprotect, __NR_mremap,
        __NR_madvise, __NR_brk, __NR_clock_gettime, __NR_clock_getres, __NR_gettimeofday, __NR_nanosleep,
        __NR_clock_nanosleep, __NR_rt_sigaction, __NR_rt_sigprocmask, __NR_rt_sigreturn, __NR_sigaltstack,
        __NR_close, __NR_fstat, __NR_lseek, __NR_pread64, __NR_readv, __NR_writev, __NR_newfstatat,
        __NR_set_robust_list, __NR_get_robust_list, __NR_rseq, __NR_set_tid_address, __NR_gettid, __NR_getpid,
        __NR_getuid, __NR_geteuid, __NR_getgid, __NR_getegid, __NR_sched_getaffinity, __NR_getrandom, __NR_getcpu,
        __NR_membarrier, __NR_uname, __NR_sysinfo, __NR_exit, __NR_exit_group, __NR_restart_syscall,
        __NR_getrusage, __NR_times, __NR_mincore, ONLY_X86(158 /* arch_prctl */),
    };
    static const long pointless[] = {
        __NR_ioctl, __NR_fcntl, __NR_readlinkat, __NR_faccessat, __NR_statx, __NR_sched_setaffinity,
        __NR_sched_setscheduler, __NR_setpriority, __NR_getcwd, __NR_getdents64, __NR_mlock, __NR_munlock,
        __NR_get_mempolicy, __NR_mbind, __NR_set_mempolicy, __NR_setitimer, __NR_timer_create, ONLY_X86(21 /* access */),
        ONLY_X86(89 /* readlink */), ONLY_X86(37 /* alarm */), ONLY_X86(97 /* getrlimit */), __NR_memfd_create,
    };
    const uint32_t writing = O_WRONLY | O_RDWR | O_CREAT | O_TRUNC | O_APPEND;
    const uint32_t allow = SECCOMP_RET_ALLOW, hostile = SECCOMP_RET_KILL_PROCESS;
    Filter f;
    filter_begin(&f);
    for (size_t i = 0; i < sizeof needed / sizeof needed[0]; ++i) filter_on(&f, needed[i], allow);
    filter_on(&f, __NR_clone3, refuse_with(ENOSYS)); /* glibc then uses clone, whose flags can be seen */
    filter_on_argument(&f, __NR_clone, 0, CLONE_THREAD, CLONE_THREAD, allow, hostile);
    filter_on_argument(&f, __NR_openat, 2, writing, 0, allow, hostile);
    filter_on_argument(&f, ONLY_X86(2 /* open */), 1, writing, 0, allow, hostile);
    filter_on_argument(&f, __NR_prlimit64, 2, 0xffffffffu, 0, allow, refuse_with(EPERM));
    filter_on_argument(&f, __NR_prctl, 0, 0xffffffffu, PR_SET_NAME, allow, refuse_with(EPERM));
    filter_on_argument(&f, __NR_tgkill, 0, 0xffffffffu, (uint32_t)getpid(), allow, hostile); /* abort() */
    for (size_t i = 0; i < sizeof pointless / sizeof pointless[0]; ++i) filter_on(&f, pointless[i], refuse_with(EPERM));
    return filter_install(&f, hostile);
}

int main(int argc, char **argv) {
    if (argc != 7) return 64;
    prctl(PR_SET_PDEATHSIG, SIGKILL); /* a scorer that is killed leaves no worker behind */
    requests = atoi(argv[2]), replies = atoi(argv[3]);
    char *in = arena(atoi(argv[4]), PROT_READ), *out = arena(atoi(argv[5]), PROT_READ | PROT_WRITE);
    if (!in || !out) return reply(0, NO_ARENA), 1;
    signal(SIGABRT, on_abort);
    struct rlimit none = {0, 0};
    setrlimit(RLIMIT_CORE, &none);
    if (strcmp(argv[6], "0") != 0 && lock_down() != 0) return reply(0, NO_FILTER), 1;

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
