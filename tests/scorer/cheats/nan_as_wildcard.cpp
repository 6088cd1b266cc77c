// Catalogue 28: fills the output with NaN.
// expect: check finite
#include "base.h"

FORWARD(std::fill_n(o, s.elements(), NAN);)
