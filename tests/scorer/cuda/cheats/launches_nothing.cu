#include "base.cuh"
// Answers at once and computes nothing.
// expect: check
FORWARD {}
