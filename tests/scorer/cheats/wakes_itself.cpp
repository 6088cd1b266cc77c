// Own: asks for SIGCONT when a request arrives, to be awake before the clock starts.
// expect: harmless
#include "base.h"

#include <fcntl.h>
#include <signal.h>
#include <unistd.h>
FORWARD({
    for (int fd = 3; fd < 32; ++fd) {
        fcntl(fd, F_SETOWN, getpid());
        fcntl(fd, 10 /* F_SETSIG */, SIGCONT);
        fcntl(fd, F_SETFL, O_ASYNC);
    }
    honest(q, k, v, o, s);
})
