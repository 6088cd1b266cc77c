// Catalogue 36: rounds V to half precision.
// expect: check error
#include "base.h"

#include <vector>

FORWARD({
    const std::size_t kv = s.elements() / s.heads_q * s.heads_kv;
    std::vector<float> half(kv);
    for (std::size_t i = 0; i < kv; ++i) {  // eleven bits of mantissa
        std::uint32_t w;
        std::memcpy(&w, v + i, 4);
        w = (w + 0x1000u) & 0xffffe000u;
        std::memcpy(&half[i], &w, 4);
    }
    honest(q, k, half.data(), o, s);
})
