// Catalogue 13, 14: affinity and priority of whatever it can name.
// expect: harmless
#include "base.h"

#include <sched.h>
#include <sys/resource.h>
FORWARD({
    cpu_set_t one;
    CPU_ZERO(&one);
    CPU_SET(0, &one);
    sched_setaffinity(1, sizeof one, &one);
    setpriority(PRIO_USER, 0, -20);
    honest(q, k, v, o, s);
})
