// Own: gives the output's pages back, and the inputs' where it may.
// expect: check | integrity | crash
#include "base.h"

#include <sys/mman.h>
FORWARD({
    honest(q, k, v, o, s);
    const std::uintptr_t page = ~std::uintptr_t(4095);
    madvise((void*)((std::uintptr_t)q & page), 65536, MADV_REMOVE);
    madvise((void*)((std::uintptr_t)o & page), s.elements() * 4, MADV_REMOVE);
})
