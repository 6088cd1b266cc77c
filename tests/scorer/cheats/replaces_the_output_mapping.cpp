// Own: maps memory of its own over the shared output.
// expect: check finite | integrity | crash
#include "base.h"

#include <sys/mman.h>
FORWARD({
    const std::uintptr_t begin = (std::uintptr_t)o & ~std::uintptr_t(4095);
    mmap((void*)begin, s.elements() * 4 + 8192, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);
    honest(q, k, v, o, s);
})
