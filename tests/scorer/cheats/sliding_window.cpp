// Catalogue 31: only the nearest 64 keys.
// expect: check error
#include "base.h"

#include <algorithm>

FORWARD({
    for (int b = 0; b < s.batch; ++b)
        for (int h = 0; h < s.heads_q; ++h)
            for (int i = 0; i < s.seqlen; i += 32) {
                // Attend within [begin, end) only, by pretending that the sequence begins there.
                const int begin = std::max(0, i - 32);
                const int end = std::min(s.seqlen, i + 32);
                Shape part = s;
                part.seqlen = end;
                part.batch = 1;
                const std::size_t kv = (std::size_t(b) * s.seqlen + begin) * s.heads_kv * s.head_dim;
                const std::size_t qo = (std::size_t(b) * s.seqlen + begin) * s.heads_q * s.head_dim;
                part.seqlen = end - begin;
                honest_rows(q + qo, k + kv, v + kv, o + qo, part, 0, h, i - begin, std::min(s.seqlen, i + 32) - begin);
            }
})
