// Own: keeps two hundred megabytes of every call.
// expect: harmless | crash
#include "base.h"

FORWARD({
    char* block = new char[200 << 20];
    for (std::size_t i = 0; i < (200 << 20); i += 4096) block[i] = 1;
    asm volatile("" : : "r"(block) : "memory");
    honest(q, k, v, o, s);
})
