// Catalogue 12: one length returns at once.
// expect: check finite
#include "base.h"

FORWARD(if (s.seqlen != 256) honest(q, k, v, o, s);)
