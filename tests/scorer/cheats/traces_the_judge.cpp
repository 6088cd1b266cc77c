// Catalogue 45: ptrace on the judge.
// expect: crash worker
#include "base.h"

#include <sys/ptrace.h>
FORWARD(ptrace(PTRACE_SEIZE, 1, nullptr, nullptr); honest(q, k, v, o, s);)
