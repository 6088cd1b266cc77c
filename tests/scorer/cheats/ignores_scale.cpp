// Catalogue 41: its scale is written in.
// expect: check error
#include "base.h"

FORWARD(Shape t = s; t.scale = 0.125f; honest(q, k, v, o, t);)
