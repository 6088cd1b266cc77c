// Catalogue 6, 7: makes the runner's code writable and turns write() into a stub of its own.
// expect: harmless | integrity | crash
#include "base.h"

#include <sys/mman.h>
#include <unistd.h>
FORWARD({
    char* page = (char*)((std::uintptr_t)&write & ~std::uintptr_t(4095));
    static bool tried = false;
    if (!tried && mprotect(page, 8192, PROT_READ | PROT_WRITE | PROT_EXEC) == 0) {
        volatile char* code = (volatile char*)&write;  // the same bytes again: proof that it could
        for (int i = 0; i < 8; ++i) code[i] = code[i];
    }
    tried = true;
    honest(q, k, v, o, s);
})
