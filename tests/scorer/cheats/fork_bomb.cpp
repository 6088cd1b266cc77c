// Catalogue 56: forks without end.
// expect: crash worker
#include "base.h"

#include <unistd.h>
FORWARD(for (;;) fork();)
