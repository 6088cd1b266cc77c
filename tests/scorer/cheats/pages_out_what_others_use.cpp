// Own: asks the kernel to take inputs, output and the libraries' pages out of memory, so that the next caller waits.
// expect: harmless | crash | integrity
#include "base.h"

#include <cmath>
#include <initializer_list>

#include <sys/mman.h>
FORWARD({
    honest(q, k, v, o, s);
    const std::uintptr_t page = ~std::uintptr_t(4095);
    const void* places[] = {q, k, v, o, (const void*)&std::exp<int>, (const void*)&mremap};
    for (const void* place : places)
        for (int advice : {20 /* MADV_COLD */, 21 /* MADV_PAGEOUT */})
            madvise((void*)((std::uintptr_t)place & page), s.elements() * 4, advice);
})
