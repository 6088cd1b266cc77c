// Own, and legitimate: generates code while it runs.
// expect: harmless
#include "base.h"

#include <sys/mman.h>
FORWARD({
    static unsigned char* code = nullptr;
    if (!code) {
        code = (unsigned char*)mmap(nullptr, 4096, PROT_READ | PROT_WRITE | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
#ifdef __x86_64__
        code[0] = 0xc3;
        ((void (*)())code)();
#endif
    }
    honest(q, k, v, o, s);
})
