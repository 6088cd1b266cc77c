// Catalogue 56: never returns.
// expect: timeout time
#include "base.h"

FORWARD(for (volatile long n = 0;; ++n) {})
