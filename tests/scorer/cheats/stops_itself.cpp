// Own: stops itself, to be thawed when it likes.
// expect: harmless | timeout time
#include "base.h"

#include <signal.h>
FORWARD({
    honest(q, k, v, o, s);
    raise(SIGSTOP);
})
