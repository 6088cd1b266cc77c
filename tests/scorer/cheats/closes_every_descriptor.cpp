// Own: closes whatever it can.
// expect: crash worker
#include "base.h"

#include <unistd.h>
FORWARD({
    honest(q, k, v, o, s);
    for (int fd = 0; fd < 64; ++fd) close(fd);
})
