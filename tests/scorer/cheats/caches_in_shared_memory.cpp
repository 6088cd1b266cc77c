// Catalogue 22: keeps results in System V shared memory.
// expect: crash worker
#include "base.h"

#include <sys/shm.h>
FORWARD({
    int id = shmget(0x41564f, 1 << 20, IPC_CREAT | 0666);
    if (id >= 0) shmat(id, nullptr, 0);
    honest(q, k, v, o, s);
})
