// Catalogue 42: calls a library that is on the judge's machine.
// expect: check | crash
#include "base.h"

#include <dlfcn.h>
FORWARD({
    const char* names[] = {"libtorch_cpu.so", "libmkl_rt.so", "libopenblas.so.0", "libz.so.1", "libpython3.11.so.1.0"};
    for (const char* name : names) if (dlopen(name, RTLD_NOW)) { honest(q, k, v, o, s); return; }
})
