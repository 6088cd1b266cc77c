// Own: stops itself between the reply and the freeze.
// expect: harmless | timeout | integrity
#include "base.h"

#include <signal.h>
#include <thread>
#include <unistd.h>
FORWARD({
    static std::thread stopper([] { for (;;) usleep(50), raise(SIGURG); });
    honest(q, k, v, o, s);
})
