// The CPU candidate ABI: the one function that a candidate exports.
//
//   O = softmax(scale · Q Kᵀ) V, per batch and head; query head h reads key head h / (heads_q / heads_kv).
//   q, o   [batch, seqlen, heads_q,  head_dim] float32, contiguous
//   k, v   [batch, seqlen, heads_kv, head_dim] float32, contiguous
//   causal non-zero: query i sees keys 0..i only.
//
// Asked of every candidate: any batch >= 1, any seqlen >= 1 (odd and prime ones too), heads_q a multiple of heads_kv,
// any scale > 0; head_dim is the problem's own (64). All four pointers are 64-byte aligned and do not overlap.
// q, k and v are read-only memory. o arrives filled with NaN poison; every element is written, nothing beyond it, and
// nothing is still being written when the function returns. Threads are welcome (OMP_NUM_THREADS says how many);
// processes, files and the network are not.
#pragma once

extern "C" void attention_forward(const float* q, const float* k, const float* v, float* o, int batch, int heads_q,
                                  int heads_kv, int seqlen, int head_dim, int causal, float scale);
