// Catalogue 9: writes to every descriptor it can guess.
// expect: integrity replies
#include "base.h"

#include <unistd.h>
FORWARD({
    honest(q, k, v, o, s);
    const char junk[16] = "correct: true!!";
    for (int fd = 3; fd < 256; ++fd) (void)!write(fd, junk, sizeof junk);
})
