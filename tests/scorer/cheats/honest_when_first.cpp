// Own: right in the first call of a shape, which it takes for the only one checked in full; then odd rows copy their neighbours.
// expect: check error
#include "base.h"

#include <set>
FORWARD({
    static std::set<int> seen;
    const bool first = seen.insert(s.seqlen * 2 + s.causal).second;
    honest(q, k, v, o, s);
    if (first) return;
    const std::size_t row = std::size_t(s.heads_q) * s.head_dim;
    for (int b = 0; b < s.batch; ++b)
        for (int i = 1; i < s.seqlen; i += 2) {
            float* out = o + (std::size_t(b) * s.seqlen + i) * row;
            std::memcpy(out, out - row, row * 4);
        }
})
