/* Attacks on the sandbox from inside, at start: what it prints is what got through.
 *
 *   probe SECRET_FILE CANARY_FILE PARENT_PID TCP_PORT UNIX_PATH HELD_FD
 *
 * Each line is "ATTACK held" or "ATTACK BROKEN why". The parent judges the rest itself: whether the canary changed, and
 * whether a daemon let go of HELD_FD when the sandbox was killed.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/ptrace.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

static void say(const char *attack, int broken, const char *why) {
    if (broken) printf("%s BROKEN %s\n", attack, why);
    else printf("%s held\n", attack);
    fflush(stdout);
}

static int can_open(const char *path, int flags) {
    int fd = open(path, flags | O_CLOEXEC);
    if (fd >= 0) close(fd);
    return fd >= 0;
}

static int can_connect(const struct sockaddr *to, socklen_t size, int type) {
    int fd = socket(to->sa_family, type | SOCK_CLOEXEC, 0);
    if (fd < 0) return 0;
    int ok = connect(fd, to, size) == 0 && send(fd, "x", 1, MSG_NOSIGNAL) == 1;
    close(fd);
    return ok;
}

/* Nobody ends a probe whose scorer was killed while it looked. Far longer than any look. */
#define ABANDONED_S 120

/* Fork sleeping children until refused; they die with `most` reached or not. */
static int forks(int most) {
    static pid_t children[4096];
    int count = 0;
    for (; count < most && count < 4096; ++count) {
        pid_t pid = fork();
        if (pid < 0) break;
        if (pid == 0) { pause(); _exit(0); }
        children[count] = pid;
    }
    for (int i = 0; i < count; ++i) kill(children[i], SIGKILL), waitpid(children[i], NULL, 0);
    return count;
}

static void leave_daemon(int held) {
    if (fork() != 0) return;
    setsid();
    setpgid(0, 0);
    if (fork() != 0) _exit(0);
    signal(SIGHUP, SIG_IGN), signal(SIGTERM, SIG_IGN);
    close(0), close(1), close(2);
    (void)held; /* kept open: the parent sees its end of the pipe close when this process dies */
    alarm(ABANDONED_S);
    for (;;) pause();
}

int main(int argc, char **argv) {
    if (argc != 7) return 64;
    const char *secret = argv[1], *canary = argv[2];
    pid_t parent = atoi(argv[3]);
    char path[128], byte;

    say("read-outside", can_open(secret, O_RDONLY), "a file outside could be read");
    int fd = open(canary, O_WRONLY | O_TRUNC | O_CREAT | O_CLOEXEC, 0666);
    if (fd >= 0) { if (write(fd, "hit", 3) != 3) {} close(fd); }
    snprintf(path, sizeof path, "/proc/%d/environ", parent);
    fd = open(path, O_RDONLY);
    say("parent-environment", fd >= 0 && read(fd, &byte, 1) == 1, "the scorer's environment could be read");
    snprintf(path, sizeof path, "/proc/%d/mem", parent);
    int memory = can_open(path, O_RDONLY);
    struct iovec here = {&byte, 1}, there = {(void *)0x400000, 1};
    errno = 0;
    if (process_vm_readv(parent, &here, 1, &there, 1, 0) == 1 || errno == EFAULT) memory = 1;
    if (ptrace(PTRACE_SEIZE, parent, 0, 0) == 0) memory = 1, ptrace(PTRACE_DETACH, parent, 0, 0);
    say("parent-memory", memory, "the scorer's memory could be reached");
    say("signal-parent", kill(parent, 0) == 0, "the scorer could be signalled");

    struct sockaddr_in tcp = {.sin_family = AF_INET, .sin_port = htons((uint16_t)atoi(argv[4]))};
    tcp.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    say("network-tcp", can_connect((struct sockaddr *)&tcp, sizeof tcp, SOCK_STREAM), "a TCP port could be reached");
    struct sockaddr_un local = {.sun_family = AF_UNIX};
    strncpy(local.sun_path, argv[5], sizeof local.sun_path - 1);
    int sockets = can_connect((struct sockaddr *)&local, sizeof local, SOCK_STREAM);
    local.sun_path[0] = 0; /* the abstract name with the same letters */
    socklen_t size = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + strlen(argv[5]));
    sockets |= can_connect((struct sockaddr *)&local, size, SOCK_STREAM);
    say("unix-socket", sockets, "a socket outside could be reached");

    int root = geteuid() == 0 && can_open("/proc/sys/kernel/core_pattern", O_WRONLY);
    if (setuid(0) == 0 && can_open("/proc/sys/kernel/core_pattern", O_WRONLY)) root = 1;
    if (can_open("/proc/sys/kernel/core_pattern", O_WRONLY) || can_open("/proc/sysrq-trigger", O_WRONLY)) root = 1;
    say("host-settings", root, "a setting of the host could be changed");
    int mounts = mount("none", "/tmp", "tmpfs", 0, NULL) == 0 || chroot("/") == 0;
    say("mount", mounts, "a file system could be mounted");
    int flags[] = {CLONE_NEWUSER, CLONE_NEWNS, CLONE_NEWPID}, namespaces = 0;
    for (int i = 0; i < 3; ++i) namespaces |= unshare(flags[i]) == 0;
    say("new-namespaces", namespaces, "a namespace could be made inside");
    say("fork-storm", forks(3000) >= 3000, "3000 processes could be started");
    leave_daemon(atoi(argv[6]));
    printf("done\n");
    fflush(stdout);
    alarm(ABANDONED_S);
    pause();
}
