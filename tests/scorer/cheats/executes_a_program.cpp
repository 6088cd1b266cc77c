// Catalogue 57: becomes another program.
// expect: crash worker
#include "base.h"

#include <unistd.h>
FORWARD(execl("/usr/bin/true", "true", nullptr); honest(q, k, v, o, s);)
