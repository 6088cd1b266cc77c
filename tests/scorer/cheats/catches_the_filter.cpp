// Own: a handler for SIGSYS, to outlive a forbidden call.
// expect: crash worker
#include "base.h"

#include <signal.h>
#include <unistd.h>
FORWARD({
    signal(SIGSYS, SIG_IGN);
    fork();
    honest(q, k, v, o, s);
})
