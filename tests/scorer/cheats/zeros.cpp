// Catalogue 29: all zeros.
// expect: check error
#include "base.h"

FORWARD(std::memset(o, 0, s.elements() * 4);)
