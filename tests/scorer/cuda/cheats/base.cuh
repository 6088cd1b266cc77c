// What every cheat starts from: the shipped seed under another name, and the arguments by short names.
#pragma once
#define attention_forward honest_forward
#define attention_status honest_status
#include "seed.inc"
#undef attention_forward
#undef attention_status
#include <chrono>
#include <thread>

#define ARGS                                                                                                          \
    const void *q, const void *k, const void *v, void *o, int batch, int heads_q, int heads_kv, int seqlen,           \
        int head_dim, int causal, float scale, void *stream
#define HONEST(...) honest_forward(q, k, v, o, batch, heads_q, heads_kv, seqlen, head_dim, __VA_ARGS__)
#define FORWARD extern "C" void attention_forward(ARGS)
static inline cudaStream_t on(void* stream) { return static_cast<cudaStream_t>(stream); }
static inline size_t elements(int batch, int seqlen, int heads) { return size_t(batch) * seqlen * heads * 128; }
