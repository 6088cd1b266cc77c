// Catalogue 56: never finishes loading.
// expect: timeout time
#include "base.h"

#include <unistd.h>
__attribute__((constructor)) static void hang() { for (;;) usleep(1000); }
FORWARD(honest(q, k, v, o, s);)
