// Catalogue 18: remembers results by a fingerprint of the inputs; fresh inputs never match.
// expect: harmless
#include "base.h"

#include <map>
#include <vector>
FORWARD({
    static std::map<std::uint64_t, std::vector<float>> memory;
    std::uint64_t mark = 1469598103934665603ull;
    for (int i = 0; i < 64; ++i) { std::uint32_t w; std::memcpy(&w, q + i, 4); mark = (mark ^ w) * 1099511628211ull; }
    auto& known = memory[mark];
    if (known.size() == s.elements()) { std::memcpy(o, known.data(), known.size() * 4); return; }
    honest(q, k, v, o, s);
    known.assign(o, o + s.elements());
})
