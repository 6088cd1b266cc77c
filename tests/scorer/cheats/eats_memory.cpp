// Catalogue 56: touches memory without end.
// expect: crash worker
#include "base.h"

#include <cstdlib>
FORWARD({
    for (std::size_t n = 0;; ++n) {
        char* block = (char*)std::malloc(std::size_t(64) << 30);
        if (!block) std::abort();
        for (std::size_t i = 0; i < (std::size_t(64) << 30); i += 4096) block[i] = 1;
    }
})
