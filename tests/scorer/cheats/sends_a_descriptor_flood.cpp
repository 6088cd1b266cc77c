// Own: splices the pipes into each other.
// expect: crash worker
#include "base.h"

#include <fcntl.h>
FORWARD({
    honest(q, k, v, o, s);
    for (int a = 3; a < 16; ++a)
        for (int b = 3; b < 16; ++b) tee(a, b, 65536, SPLICE_F_NONBLOCK);
})
