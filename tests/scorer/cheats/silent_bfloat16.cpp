// Catalogue 36: rounds its inputs to bfloat16.
// expect: check error
#include "base.h"

#include <vector>

static void rounded(const float* from, std::vector<float>& to, std::size_t n) {
    to.resize(n);
    for (std::size_t i = 0; i < n; ++i) {
        std::uint32_t w;
        std::memcpy(&w, from + i, 4);
        w = (w + 0x8000u) & 0xffff0000u;
        std::memcpy(&to[i], &w, 4);
    }
}
FORWARD({
    std::vector<float> a, b, c;
    const std::size_t kv = s.elements() / s.heads_q * s.heads_kv;
    rounded(q, a, s.elements()), rounded(k, b, kv), rounded(v, c, kv);
    honest(a.data(), b.data(), c.data(), o, s);
})
