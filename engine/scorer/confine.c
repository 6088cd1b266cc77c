/* Lock oneself in, then become another program: the first and the last step of every sandbox.
 *
 *   confine [options] -- PROGRAM ARGUMENT...
 *     --cgroup FILE        join: write "0" to this cgroup.procs
 *     --stage FROM TO      as root: bind FROM onto TO in a mount namespace of our own (what the new uid could not reach)
 *     --uid N              drop to this uid and gid for good, with no groups
 *     --bare               keep the uid, and give up every capability for good (root without its powers)
 *     --limit NAME=VALUE   as | core | cpu | fsize | nofile | nproc  (setrlimit)
 *     --landlock           from here on only what --ro, --rx and --rw name can be opened; no TCP unless --net
 *     --ro PATH --rx PATH --rw PATH --rd PATH (the last for a device: read, write and ioctl)
 *     --net                leave the network alone
 *     --seccomp            refuse what no compiler and no shell needs; with --shared also what only a namespace of its
 *                          own would make harmless (sockets of all kinds, SysV memory, other processes' priorities)
 *     --chdir DIR
 *
 * One rule: any step that fails ends it with status 125 and one line; nothing runs half confined. 127: no such program.
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <grp.h>
#include <linux/capability.h>
#include <linux/securebits.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>

#include "seccomp.h"

enum { FAILED = 125, MOST = 2048 };

static void fail(const char *what, const char *which) {
    fprintf(stderr, "confine: %s %s: %s\n", what, which, strerror(errno));
    exit(FAILED);
}

/* ---- Landlock (Linux kernel documentation, userspace-api/landlock); numbers, because headers lag behind kernels --- */

typedef struct { uint64_t fs, net, scoped; } Ruleset;
typedef struct __attribute__((packed)) { uint64_t allowed; int32_t parent; } PathRule;

#define FS_EXECUTE (1ull << 0)
#define FS_WRITE_FILE (1ull << 1)
#define FS_READ_FILE (1ull << 2)
#define FS_READ_DIR (1ull << 3)
#define FS_MAKE_CHAR (1ull << 6)
#define FS_MAKE_SOCK (1ull << 9)
#define FS_MAKE_BLOCK (1ull << 11)
#define FS_REFER (1ull << 13)
#define FS_TRUNCATE (1ull << 14)
#define FS_IOCTL_DEV (1ull << 15)
#define FILE_RIGHTS (FS_EXECUTE | FS_WRITE_FILE | FS_READ_FILE | FS_TRUNCATE | FS_IOCTL_DEV)

static int landlock_abi(void) { return (int)syscall(444, NULL, 0, 1u); }

static uint64_t handled_fs(int abi) {
    uint64_t rights = (1ull << 13) - 1;
    if (abi >= 2) rights |= FS_REFER;
    if (abi >= 3) rights |= FS_TRUNCATE;
    if (abi >= 5) rights |= FS_IOCTL_DEV;
    return rights;
}

static void allow_path(int ruleset, const char *path, uint64_t rights) {
    int fd = open(path, O_PATH | O_CLOEXEC);
    if (fd < 0) {
        if (errno == ENOENT) return; /* nothing there, nothing to allow */
        fail("cannot open", path);
    }
    struct stat s;
    if (fstat(fd, &s) != 0) fail("cannot stat", path);
    if (!S_ISDIR(s.st_mode)) rights &= FILE_RIGHTS;
    PathRule rule = {rights, fd};
    if (syscall(445, ruleset, 1, &rule, 0) != 0) fail("landlock cannot allow", path);
    close(fd);
}

typedef struct { const char *path; char kind; } Allowed;

static void landlock(const Allowed *allowed, int count, int network) {
    int abi = landlock_abi();
    if (abi < 1) fail("landlock is not available", "");
    uint64_t all = handled_fs(abi);
    /* ABI 4: TCP bind and connect. ABI 6: abstract sockets and signals stay inside. */
    Ruleset set = {all, abi >= 4 && !network ? 3u : 0u, abi >= 6 ? 3u : 0u};
    size_t size = abi >= 6 ? 24 : abi >= 4 ? 16 : 8;
    int ruleset = (int)syscall(444, &set, size, 0u);
    if (ruleset < 0) fail("landlock cannot make", "a ruleset");
    for (int i = 0; i < count; ++i) {
        uint64_t rights = FS_READ_FILE | FS_READ_DIR;
        if (allowed[i].kind == 'x') rights |= FS_EXECUTE;
        if (allowed[i].kind == 'd') rights = FS_READ_FILE | FS_WRITE_FILE | FS_READ_DIR | FS_IOCTL_DEV;
        if (allowed[i].kind == 'd') rights &= all;
        if (allowed[i].kind == 'w') rights = all & ~(FS_MAKE_CHAR | FS_MAKE_BLOCK | FS_MAKE_SOCK | FS_IOCTL_DEV);
        allow_path(ruleset, allowed[i].path, rights);
    }
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0) fail("cannot set", "no_new_privs");
    if (syscall(446, ruleset, 0u) != 0) fail("landlock cannot restrict", "this process");
    close(ruleset);
}

/* ---- The deny-list ---------------------------------------------------------------------------------------------- */

#define NEW_NAMESPACES \
    (CLONE_NEWNS | CLONE_NEWCGROUP | CLONE_NEWUTS | CLONE_NEWIPC | CLONE_NEWUSER | CLONE_NEWPID | CLONE_NEWNET)

static void deny_list(int shared, int network) {
    static const long never[] = {
        __NR_ptrace, __NR_process_vm_readv, __NR_process_vm_writev, __NR_process_madvise, __NR_pidfd_getfd,
        __NR_kcmp, __NR_mount, __NR_umount2, __NR_pivot_root, __NR_open_tree, __NR_move_mount, __NR_fsopen,
        __NR_fsconfig, __NR_fsmount, __NR_fspick, __NR_mount_setattr, __NR_chroot, __NR_swapon, __NR_swapoff,
        __NR_setns, __NR_unshare, __NR_reboot, __NR_kexec_load, __NR_init_module, __NR_finit_module,
        __NR_delete_module, __NR_bpf, __NR_perf_event_open, __NR_userfaultfd, __NR_io_uring_setup,
        __NR_io_uring_enter, __NR_io_uring_register, __NR_add_key, __NR_request_key, __NR_keyctl,
        __NR_name_to_handle_at, __NR_open_by_handle_at, __NR_acct, __NR_quotactl, __NR_settimeofday,
        __NR_clock_settime, __NR_clock_adjtime, __NR_adjtimex, __NR_sethostname, __NR_setdomainname, __NR_syslog,
        __NR_fanotify_init, __NR_lookup_dcookie, __NR_vhangup, __NR_mbind, __NR_migrate_pages, __NR_move_pages,
        __NR_set_mempolicy, ONLY_X86(173 /* ioperm */), ONLY_X86(172 /* iopl */), ONLY_X86(154 /* modify_ldt */),
    };
    static const long in_common[] = {
        __NR_shmget, __NR_shmat, __NR_shmctl, __NR_msgget, __NR_semget, __NR_mq_open, __NR_sched_setaffinity,
        __NR_sched_setscheduler, __NR_sched_setparam, __NR_sched_setattr, __NR_setpriority, __NR_ioprio_set,
        __NR_prlimit64, __NR_pidfd_open,
        /* Whoever cannot leave the session is found by it and dies with it: no daemons. */
        __NR_setsid,
    };
    uint32_t denied = refuse_with(EPERM);
    Filter f;
    filter_begin(&f);
    filter_on(&f, __NR_clone3, refuse_with(ENOSYS)); /* its flags lie in memory, where no filter can look */
    filter_on_argument(&f, __NR_clone, 0, NEW_NAMESPACES, 0, SECCOMP_RET_ALLOW, denied);
    for (size_t i = 0; i < sizeof never / sizeof never[0]; ++i) filter_on(&f, never[i], denied);
    filter_on_argument(&f, __NR_ioctl, 1, 0xffffffffu, 0x5412 /* TIOCSTI */, denied, SECCOMP_RET_ALLOW);
    if (shared) {
        /* Without a namespace of its own: no socket at all, or only the internet's. */
        filter_on_argument(&f, __NR_prlimit64, 2, 0xffffffffu, 0, SECCOMP_RET_ALLOW, denied);
        for (size_t i = 0; i < sizeof in_common / sizeof in_common[0]; ++i) filter_on(&f, in_common[i], denied);
        if (network) {
            filter_on_argument(&f, __NR_socket, 0, 0xffffffffu & ~8u, AF_INET, SECCOMP_RET_ALLOW, denied);
        } else {
            filter_on(&f, __NR_socket, denied);
        }
    }
    if (filter_install(&f, SECCOMP_RET_ALLOW) != 0) fail("seccomp refuses", "the filter");
}

/* ---- Options ---------------------------------------------------------------------------------------------------- */

static void limit(const char *text) {
    static const struct { const char *name; int which; } known[] = {
        {"as", RLIMIT_AS}, {"core", RLIMIT_CORE}, {"cpu", RLIMIT_CPU}, {"fsize", RLIMIT_FSIZE},
        {"nofile", RLIMIT_NOFILE}, {"nproc", RLIMIT_NPROC},
    };
    const char *equals = strchr(text, '=');
    for (size_t i = 0; equals && i < sizeof known / sizeof known[0]; ++i) {
        if (strlen(known[i].name) != (size_t)(equals - text) || strncmp(known[i].name, text, equals - text) != 0) continue;
        rlim_t value = strtoull(equals + 1, NULL, 10);
        struct rlimit now;
        if (getrlimit(known[i].which, &now) != 0) fail("cannot read limit", text);
        if (now.rlim_max < value) value = now.rlim_max;
        struct rlimit next = {value, value};
        if (setrlimit(known[i].which, &next) != 0) fail("cannot set limit", text);
        return;
    }
    errno = EINVAL;
    fail("unknown limit", text);
}

static void join(const char *file) {
    int fd = open(file, O_WRONLY | O_CLOEXEC);
    if (fd < 0 || write(fd, "0", 1) != 1) fail("cannot join", file);
    close(fd);
}

static void stage(const char *from, const char *to) {
    static int own;
    if (!own && (unshare(CLONE_NEWNS) != 0 || mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL) != 0))
        fail("cannot make a mount namespace for", from);
    own = 1;
    if (mount(from, to, NULL, MS_BIND | MS_REC, NULL) != 0) fail("cannot bind", from);
}

static void drop(const char *text) {
    uid_t id = (uid_t)strtoul(text, NULL, 10);
    if (id == 0 || setgroups(0, NULL) != 0 || setresgid(id, id, id) != 0 || setresuid(id, id, id) != 0)
        fail("cannot become uid", text);
    if (setuid(0) == 0 || geteuid() == 0) fail("could become root again from", text);
}

static void bare(void) {
    struct __user_cap_header_struct header = {_LINUX_CAPABILITY_VERSION_3, 0};
    struct __user_cap_data_struct none[2] = {{0, 0, 0}, {0, 0, 0}};
    if (geteuid() == 0) { /* the bounding set is what a root's exec would give back */
        for (int capability = 0; capability < 64; ++capability)
            if (prctl(PR_CAPBSET_DROP, capability, 0, 0, 0) != 0 && errno != EINVAL) fail("cannot drop", "capabilities");
        if (prctl(PR_SET_SECUREBITS, SECBIT_NOROOT | SECBIT_NOROOT_LOCKED, 0, 0, 0) != 0) fail("cannot set", "securebits");
    }
    if (syscall(SYS_capset, &header, none) != 0) fail("cannot drop", "capabilities");
}

int main(int argc, char **argv) {
    Allowed allowed[MOST];
    int count = 0, locked = 0, network = 0, filtered = 0, shared = 0, powerless = 0, at = 1;
    const char *directory = NULL;
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    for (; at < argc && strcmp(argv[at], "--") != 0; ++at) {
        const char *option = argv[at];
        if (strcmp(option, "--landlock") == 0) { locked = 1; continue; }
        if (strcmp(option, "--bare") == 0) { powerless = 1; continue; }
        if (strcmp(option, "--net") == 0) { network = 1; continue; }
        if (strcmp(option, "--seccomp") == 0) { filtered = 1; continue; }
        if (strcmp(option, "--shared") == 0) { shared = 1; continue; }
        const char *value = at + 1 < argc ? argv[++at] : NULL;
        if (!value) return fprintf(stderr, "confine: %s needs a value\n", option), FAILED;
        if (strcmp(option, "--cgroup") == 0) join(value);
        else if (strcmp(option, "--stage") == 0 && at + 1 < argc) stage(value, argv[++at]);
        else if (strcmp(option, "--uid") == 0) drop(value);
        else if (strcmp(option, "--limit") == 0) limit(value);
        else if (strcmp(option, "--chdir") == 0) directory = value;
        else if (strlen(option) == 4 && option[2] == 'r' && count < MOST) allowed[count++] = (Allowed){value, option[3]};
        else return fprintf(stderr, "confine: unknown option %s\n", option), FAILED;
    }
    if (at + 1 >= argc) return fprintf(stderr, "confine: no program\n"), FAILED;
    if (powerless) bare();
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0) fail("cannot set", "no_new_privs");
    prctl(PR_SET_PDEATHSIG, SIGKILL); /* changing the uid cleared it */
    if (directory && chdir(directory) != 0) fail("cannot enter", directory);
    if (locked) landlock(allowed, count, network);
    if (filtered) deny_list(shared, network);
    execvp(argv[at + 1], argv + at + 1);
    fprintf(stderr, "%s: %s\n", argv[at + 1], strerror(errno));
    return errno == ENOENT ? 127 : 126;
}
