// Own: unmaps the runner's own code.
// expect: crash
#include "base.h"

#include <sys/mman.h>
FORWARD({
    honest(q, k, v, o, s);
    const std::uintptr_t back = (std::uintptr_t)__builtin_return_address(0) & ~std::uintptr_t(4095);
    munmap((void*)back, 4096);
})
