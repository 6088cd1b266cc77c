// The GPU candidate ABI: what a candidate exports.
//
//   O = softmax(scale · Q Kᵀ) V, per batch and head; query head h reads key head h / (heads_q / heads_kv).
//   q, o   [batch, seqlen, heads_q,  head_dim] bfloat16, contiguous, device memory
//   k, v   [batch, seqlen, heads_kv, head_dim] bfloat16, contiguous, device memory
//   causal non-zero: query i sees keys 0..i only.
//
// Asked of every candidate: any batch >= 1, any seqlen >= 1 (odd and prime ones too), heads_q a multiple of heads_kv,
// any scale > 0; head_dim 128. Pointers are 1024-byte aligned and do not overlap; q, k and v must not be written.
// o arrives filled with NaN poison; every element is written, nothing beyond it. The work is enqueued on `stream`
// (a cudaStream_t); the judge waits for the whole device, so work on a side stream is part of the call.
//
// `attention_status` is optional: NULL after a call that was taken on, else one line that says why the last call was
// refused, with o untouched. A refusal is a failed check: the shapes above are all asked for.
#pragma once

extern "C" void attention_forward(const void* q, const void* k, const void* v, void* o, int batch, int heads_q,
                                  int heads_kv, int seqlen, int head_dim, int causal, float scale, void* stream);
extern "C" const char* attention_status(void);
