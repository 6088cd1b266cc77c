// Catalogue 28: fills the output with NaN.
// expect: check finite
#include "base.h"
#include <cmath>

FORWARD(std::fill_n(o, s.elements(), NAN);)
