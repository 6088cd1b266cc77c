/* A system call filter as a short program that reads from top to bottom: the first line that matches decides.
 *
 * Used by runner.c (an allow-list, set before a candidate is loaded) and by confine.c (a deny-list, for compilers and an
 * operator's shell). Linux manual page seccomp(2); x86-64 and AArch64.
 */
#pragma once
#include <errno.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#if defined(__x86_64__)
#define FILTER_ARCH AUDIT_ARCH_X86_64
#elif defined(__aarch64__)
#define FILTER_ARCH AUDIT_ARCH_AARCH64
#else
#error "the sandbox knows x86-64 and AArch64 only"
#endif

#ifndef SECCOMP_RET_KILL_PROCESS
#define SECCOMP_RET_KILL_PROCESS 0x80000000u
#endif

typedef struct {
    struct sock_filter code[1024];
    unsigned short length;
} Filter;

static void filter_put(Filter *f, uint16_t code, uint32_t k, uint8_t yes, uint8_t no) {
    if (f->length < sizeof f->code / sizeof f->code[0]) f->code[f->length++] = (struct sock_filter){code, yes, no, k};
}

static uint32_t refuse_with(int error) { return SECCOMP_RET_ERRNO | ((uint32_t)error & SECCOMP_RET_DATA); }

/* Another architecture's calls, and x32's, would get past numbers meant for this one: they kill. */
static void filter_begin(Filter *f) {
    f->length = 0;
    filter_put(f, BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, arch), 0, 0);
    filter_put(f, BPF_JMP | BPF_JEQ | BPF_K, FILTER_ARCH, 1, 0);
    filter_put(f, BPF_RET | BPF_K, SECCOMP_RET_KILL_PROCESS, 0, 0);
    filter_put(f, BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr), 0, 0);
    filter_put(f, BPF_JMP | BPF_JGE | BPF_K, 0x40000000u, 0, 1);
    filter_put(f, BPF_RET | BPF_K, SECCOMP_RET_KILL_PROCESS, 0, 0);
}

/* System call `nr` gets `action`. A negative number (not on this architecture) is skipped. */
static void filter_on(Filter *f, long nr, uint32_t action) {
    if (nr < 0) return;
    filter_put(f, BPF_JMP | BPF_JEQ | BPF_K, (uint32_t)nr, 0, 1);
    filter_put(f, BPF_RET | BPF_K, action, 0, 0);
}

/* System call `nr` gets `match` when (low word of argument & mask) == value, else `other`. */
static void filter_on_argument(Filter *f, long nr, int argument, uint32_t mask, uint32_t value, uint32_t match,
                               uint32_t other) {
    if (nr < 0) return;
    filter_put(f, BPF_JMP | BPF_JEQ | BPF_K, (uint32_t)nr, 0, 5);
    filter_put(f, BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, args) + 8u * (uint32_t)argument, 0, 0);
    filter_put(f, BPF_ALU | BPF_AND | BPF_K, mask, 0, 0);
    filter_put(f, BPF_JMP | BPF_JEQ | BPF_K, value, 0, 1);
    filter_put(f, BPF_RET | BPF_K, match, 0, 0);
    filter_put(f, BPF_RET | BPF_K, other, 0, 0);
}

/* Install, for every thread, for good. `otherwise` is what a call gets that no line named. 0 when it worked. */
static int filter_install(Filter *f, uint32_t otherwise) {
    filter_put(f, BPF_RET | BPF_K, otherwise, 0, 0);
    if (f->length == sizeof f->code / sizeof f->code[0]) return -1;
    struct sock_fprog program = {f->length, f->code};
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0) return -1;
    return prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program, 0, 0);
}

/* Numbers that older headers may lack, and calls that one architecture does not have. */
#ifndef __NR_clone3
#define __NR_clone3 435
#endif
#ifndef __NR_rseq
#define __NR_rseq -1
#endif
#ifndef __NR_openat2
#define __NR_openat2 437
#endif
#ifndef __NR_io_uring_setup
#define __NR_io_uring_setup 425
#endif
#ifndef __NR_io_uring_enter
#define __NR_io_uring_enter 426
#endif
#ifndef __NR_io_uring_register
#define __NR_io_uring_register 427
#endif
#ifndef __NR_open_tree
#define __NR_open_tree 428
#endif
#ifndef __NR_move_mount
#define __NR_move_mount 429
#endif
#ifndef __NR_fsopen
#define __NR_fsopen 430
#endif
#ifndef __NR_fsconfig
#define __NR_fsconfig 431
#endif
#ifndef __NR_fsmount
#define __NR_fsmount 432
#endif
#ifndef __NR_fspick
#define __NR_fspick 433
#endif
#ifndef __NR_pidfd_open
#define __NR_pidfd_open 434
#endif
#ifndef __NR_pidfd_getfd
#define __NR_pidfd_getfd 438
#endif
#ifndef __NR_mount_setattr
#define __NR_mount_setattr 442
#endif
#ifndef __NR_process_madvise
#define __NR_process_madvise 440
#endif
#ifdef __x86_64__
#define ONLY_X86(nr) (nr)
#else
#define ONLY_X86(nr) (-1)
#endif
