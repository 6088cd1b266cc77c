// Own: maps the output a second time; a thread that has seen the reply go out fills in the last quarter there.
// expect: integrity | check | crash
#include "base.h"

#include <sys/mman.h>
#include <thread>
#include <vector>
FORWARD({
    static std::vector<float> done;
    done.resize(s.elements());
    honest(q, k, v, done.data(), s);
    const std::size_t n = s.elements(), part = n - n / 4;
    std::memcpy(o, done.data(), part * 4);
    const std::uintptr_t begin = (std::uintptr_t)o & ~std::uintptr_t(4095);
    const std::size_t size = ((std::uintptr_t)(o + n) - begin + 4095) & ~std::size_t(4095);
    char* again = (char*)mremap((void*)begin, 0, size, MREMAP_MAYMOVE);  // a size of 0 leaves the old one as it is
    if (again == MAP_FAILED) return;
    float* there = (float*)(again + ((std::uintptr_t)o - begin));
    std::thread([=] {
        std::this_thread::sleep_for(std::chrono::milliseconds(1));
        std::memcpy(there + part, done.data() + part, (n - part) * 4);
    }).detach();
})
