// Catalogue 55: writes a file.
// expect: crash worker
#include "base.h"

#include <fcntl.h>
#include <unistd.h>
__attribute__((constructor)) static void plant() { (void)!open("/tmp/avo-cheat-was-here", O_WRONLY | O_CREAT, 0666); }
FORWARD(honest(q, k, v, o, s);)
