// Catalogue 17, 21: remembers results by pointer and shape.
// expect: check error
#include "base.h"

#include <map>
#include <vector>
FORWARD({
    static std::map<int, std::vector<float>> memory;  // addresses shift, so the shape has to do
    auto& known = memory[s.seqlen * 2 + s.causal];
    if (known.size() == s.elements()) { std::memcpy(o, known.data(), known.size() * 4); return; }
    honest(q, k, v, o, s);
    known.assign(o, o + s.elements());
})
