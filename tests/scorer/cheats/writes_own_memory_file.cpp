// Catalogue 7: patches code through /proc/self/mem.
// expect: crash worker
#include "base.h"

#include <fcntl.h>
#include <unistd.h>
FORWARD({
    int fd = open("/proc/self/mem", O_RDWR);
    if (fd >= 0) (void)!pwrite(fd, "\xc3", 1, (off_t)&write);
})
