// Catalogue 57: leaves a daemon.
// expect: crash worker
#include "base.h"

#include <unistd.h>
__attribute__((constructor)) static void start() { (void)!daemon(0, 0); }
FORWARD(honest(q, k, v, o, s);)
