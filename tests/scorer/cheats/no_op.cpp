// Catalogue 26: does nothing.
// expect: check finite
#include "base.h"

FORWARD()
