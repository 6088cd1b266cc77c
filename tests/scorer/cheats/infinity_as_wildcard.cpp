// Catalogue 28: fills the output with infinity.
// expect: check finite
#include "base.h"

FORWARD(std::fill_n(o, s.elements(), INFINITY);)
