// Catalogue 3: the last 3 % of the rows are filled with a guess and finished after the return.
// expect: integrity early-sample | check error
#include "base.h"

#include <algorithm>
#include <thread>
FORWARD({
    const int late = s.seqlen - std::max(1, s.seqlen * 3 / 100);
    for (int b = 0; b < s.batch; ++b)
        for (int h = 0; h < s.heads_q; ++h) honest_rows(q, k, v, o, s, b, h, 0, late);
    for (int b = 0; b < s.batch; ++b)
        for (int i = late; i < s.seqlen; ++i)
            std::fill_n(o + (std::size_t(b) * s.seqlen + i) * s.heads_q * s.head_dim, s.heads_q * s.head_dim, 0.01f);
    std::thread([=] {
        for (int b = 0; b < s.batch; ++b)
            for (int h = 0; h < s.heads_q; ++h) honest_rows(q, k, v, o, s, b, h, late, s.seqlen);
    }).detach();
})
