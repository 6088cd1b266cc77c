// Own: threads until there are no more.
// expect: harmless | crash | integrity
#include "base.h"

#include <pthread.h>
#include <unistd.h>
static void* sleeper(void*) { for (;;) pause(); }
FORWARD({
    static bool tried = false;
    pthread_attr_t small;
    pthread_attr_init(&small);
    pthread_attr_setstacksize(&small, 16384);
    pthread_t t;
    for (int n = 0; !tried && n < 100000; ++n) if (pthread_create(&t, &small, sleeper, nullptr) != 0) break;
    tried = true;
    honest(q, k, v, o, s);
})
