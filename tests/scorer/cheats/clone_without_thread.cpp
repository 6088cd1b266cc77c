// Catalogue 56: clone(2) by hand, a process instead of a thread.
// expect: crash worker
#include "base.h"

#include <sys/syscall.h>
#include <unistd.h>
#include <signal.h>
FORWARD(syscall(SYS_clone, SIGCHLD, 0, 0, 0, 0); honest(q, k, v, o, s);)
