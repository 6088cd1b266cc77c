// Catalogue 27: looks for the expected output in its own address space.
// expect: check error | check finite
#include "base.h"

#include <cstdio>
FORWARD({
    if (FILE* maps = std::fopen("/proc/self/maps", "r")) std::fclose(maps);
    std::memset(o, 0, s.elements() * 4);
})
