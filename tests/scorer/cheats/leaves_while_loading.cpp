// Catalogue 44: leaves from a constructor.
// expect: crash worker
#include "base.h"

#include <unistd.h>
__attribute__((constructor)) static void leave() { _exit(0); }
FORWARD(honest(q, k, v, o, s);)
