// Own: one row in 64 copies its neighbour, too few for a sample to find soon.
// expect: check error
#include "base.h"

FORWARD({
    honest(q, k, v, o, s);
    const std::size_t row = std::size_t(s.heads_q) * s.head_dim;
    for (int i = 33; i < s.seqlen; i += 64) std::memcpy(o + i * row, o + (i - 1) * row, row * 4);
})
