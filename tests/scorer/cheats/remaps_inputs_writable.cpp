// Catalogue 35: asks for write access to the inputs first.
// expect: crash worker
#include "base.h"

#include <sys/mman.h>
FORWARD({
    const std::uintptr_t page = (std::uintptr_t)q & ~std::uintptr_t(4095);
    mprotect((void*)page, 4096, PROT_READ | PROT_WRITE);
    const_cast<float*>(q)[0] = 0.0f;
    honest(q, k, v, o, s);
})
