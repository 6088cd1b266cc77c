// Catalogue 45: reads the judge through process_vm_readv.
// expect: crash worker
#include "base.h"

#include <sys/uio.h>
#include <unistd.h>
FORWARD({
    char byte;
    iovec here{&byte, 1};
    iovec there{(void*)0x400000, 1};
    process_vm_readv(getppid(), &here, 1, &there, 1, 0);
    honest(q, k, v, o, s);
})
