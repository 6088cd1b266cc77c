// Catalogue 22, 25: keeps results in a file.
// expect: crash worker
#include "base.h"

#include <fcntl.h>
#include <unistd.h>
FORWARD({
    int fd = open("/tmp/avo-cheat-cache", O_RDWR | O_CREAT, 0666);
    if (fd >= 0) (void)!write(fd, o, 4);
    honest(q, k, v, o, s);
})
