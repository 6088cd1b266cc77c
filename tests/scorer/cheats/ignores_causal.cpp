// Catalogue 41: treats every call as full attention.
// expect: check error
#include "base.h"

FORWARD(Shape t = s; t.causal = 0; honest(q, k, v, o, t);)
