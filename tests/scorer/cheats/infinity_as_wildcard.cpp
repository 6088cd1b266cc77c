// Catalogue 28: fills the output with infinity.
// expect: check finite
#include "base.h"
#include <cmath>

FORWARD(std::fill_n(o, s.elements(), INFINITY);)
