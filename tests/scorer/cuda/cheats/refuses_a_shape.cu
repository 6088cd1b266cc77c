#include "base.cuh"
// Takes on lengths that are multiples of 64 only, and says so.
// expect: check
static const char* why = nullptr;
extern "C" const char* attention_status() { return why; }
FORWARD {
    why = seqlen % 64 != 0 ? "seqlen must be a multiple of 64" : nullptr;
    if (!why) HONEST(causal, scale, stream);
}
