// Attention forward, the portable seed.   O = softmax(scale * Q K^T) V, optionally causal
//   Q, O         [batch, sequence, heads_q, 128] bf16, contiguous, 16-byte aligned
//   K, V         [batch, sequence, heads_kv, 128] bf16; heads_q is a multiple of heads_kv; any sequence from 1
//   Needs        sm_80 or newer: mma.sync and ldmatrix only, so it builds for sm_80, sm_90a and sm_100a alike
//   Block        64 query rows, 4 warps of 16 rows; K and V tiles of 64 keys take turns in shared memory
//   Shared       Q, K and V tiles of 64 x 128, rows padded by 16 bytes against bank conflicts: 51 KB
//   Numbers      scores, softmax and sums in float32, P rounded to bf16 for P V
#include <cuda_bf16.h>
#include <cuda_runtime.h>

#include <cmath>
#include <cstdint>

namespace {

constexpr int kHeadDim = 128;
constexpr int kTileQ = 64;
constexpr int kTileKV = 64;
constexpr int kWarps = 4;
constexpr int kThreads = 32 * kWarps;
constexpr int kRow = kHeadDim + 8;  // elements from row to row in shared memory
constexpr int kSharedBytes = (kTileQ + 2 * kTileKV) * kRow * 2;

static_assert(kTileQ == 16 * kWarps, "a warp owns 16 query rows, the height of one mma");
static_assert(kTileKV % 16 == 0 && kHeadDim % 16 == 0, "mma.m16n8k16 steps");

struct Problem {
  int heads_q, heads_kv, sequence;
  float scale_log2;
};

// ---- instructions ---------------------------------------------------------------------------------------------

__device__ __forceinline__ uint32_t shared_address(const void* pointer) {
  return static_cast<uint32_t>(__cvta_generic_to_shared(pointer));
}

// Four 8x8 matrices of bf16; each lane names one of their 32 rows.
__device__ __forceinline__ void load_matrices(uint32_t (&r)[4], const __nv_bfloat16* row) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];"
               : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
               : "r"(shared_address(row)));
}

__device__ __forceinline__ void load_matrices_transposed(uint32_t (&r)[4], const __nv_bfloat16* row) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0, %1, %2, %3}, [%4];"
               : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
               : "r"(shared_address(row)));
}

// d[16 x 8] += a[16 x 16] * b[16 x 8]
__device__ __forceinline__ void multiply(float* d, const uint32_t (&a)[4], uint32_t b0, uint32_t b1) {
  asm volatile(
      "mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, "
      "{%0, %1, %2, %3};"
      : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
}

__device__ __forceinline__ uint32_t pack_bf16(float low, float high) {
  uint32_t packed;
  asm("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(packed) : "f"(high), "f"(low));
  return packed;
}

// ---- tiles ----------------------------------------------------------------------------------------------------

// 64 rows from global to shared memory, 16 bytes a thread; rows beyond the sequence become zero.
__device__ __forceinline__ void load_tile(__nv_bfloat16* tile, const __nv_bfloat16* tensor, int first_row,
                                          int sequence, long long row_stride) {
  static_assert(kTileQ == kTileKV, "one loader for all tiles");
  for (int i = threadIdx.x; i < kTileKV * kHeadDim / 8; i += kThreads) {
    const int row = i / (kHeadDim / 8), column = i % (kHeadDim / 8) * 8;
    uint4 value = make_uint4(0, 0, 0, 0);
    if (first_row + row < sequence)
      value = *reinterpret_cast<const uint4*>(tensor + (first_row + row) * row_stride + column);
    *reinterpret_cast<uint4*>(tile + row * kRow + column) = value;
  }
}

__global__ void __launch_bounds__(kThreads)
    attention_kernel(const __nv_bfloat16* q, const __nv_bfloat16* k, const __nv_bfloat16* v, __nv_bfloat16* o,
                     const Problem problem, const bool causal) {
  extern __shared__ __align__(16) __nv_bfloat16 memory[];
  __nv_bfloat16* const tile_q = memory;
  __nv_bfloat16* const tile_k = tile_q + kTileQ * kRow;
  __nv_bfloat16* const tile_v = tile_k + kTileKV * kRow;

  // blockIdx.x: query tile, longest first when causal; y: query head; z: batch.
  const int row_tile = causal ? gridDim.x - 1 - blockIdx.x : blockIdx.x;
  const int first_query = row_tile * kTileQ;
  const int sequence = problem.sequence;
  const long long stride_q = static_cast<long long>(problem.heads_q) * kHeadDim;
  const long long stride_kv = static_cast<long long>(problem.heads_kv) * kHeadDim;
  const int head_kv = blockIdx.y / (problem.heads_q / problem.heads_kv);
  q += static_cast<long long>(blockIdx.z) * sequence * stride_q + blockIdx.y * kHeadDim;
  o += static_cast<long long>(blockIdx.z) * sequence * stride_q + blockIdx.y * kHeadDim;
  k += static_cast<long long>(blockIdx.z) * sequence * stride_kv + head_kv * kHeadDim;
  v += static_cast<long long>(blockIdx.z) * sequence * stride_kv + head_kv * kHeadDim;

  const int warp = threadIdx.x / 32, lane = threadIdx.x % 32;
  const int query = first_query + 16 * warp + lane / 4;  // this thread's first row; the second is 8 below

  load_tile(tile_q, q, first_query, sequence, stride_q);
  float acc[kHeadDim / 8][4] = {};
  float peak[2] = {-1e38f, -1e38f};
  float sum[2] = {0.0f, 0.0f};

  const int keys = causal ? min(first_query + kTileQ, sequence) : sequence;
  for (int first_key = 0; first_key < keys; first_key += kTileKV) {
    __syncthreads();  // everyone is done with the previous tiles
    load_tile(tile_k, k, first_key, sequence, stride_kv);
    load_tile(tile_v, v, first_key, sequence, stride_kv);
    __syncthreads();

    // S = Q K^T: 16 queries by 64 keys for this warp.
    float s[kTileKV / 8][4] = {};
#pragma unroll
    for (int d = 0; d < kHeadDim; d += 16) {
      uint32_t a[4];
      load_matrices(a, tile_q + (16 * warp + lane % 16) * kRow + d + lane / 16 * 8);
#pragma unroll
      for (int n = 0; n < kTileKV; n += 16) {
        uint32_t b[4];
        load_matrices(b, tile_k + (n + lane % 8 + lane / 16 * 8) * kRow + d + lane / 8 % 2 * 8);
        multiply(s[n / 8], a, b[0], b[1]);
        multiply(s[n / 8 + 1], a, b[2], b[3]);
      }
    }

    // Keys beyond the sequence or behind the query count nothing.
    if (first_key + kTileKV > sequence || (causal && first_key + kTileKV > first_query)) {
#pragma unroll
      for (int n = 0; n < kTileKV / 8; ++n)
#pragma unroll
        for (int e = 0; e < 4; ++e) {
          const int key = first_key + 8 * n + 2 * (lane % 4) + e % 2;
          if (key >= sequence || (causal && key > query + 8 * (e / 2))) s[n][e] = -INFINITY;
        }
    }

    // Online softmax: new peak, decay of what was accumulated, exponentials.
#pragma unroll
    for (int r = 0; r < 2; ++r) {
      float top = peak[r];
#pragma unroll
      for (int n = 0; n < kTileKV / 8; ++n) top = fmaxf(top, fmaxf(s[n][2 * r], s[n][2 * r + 1]));
      top = fmaxf(top, __shfl_xor_sync(0xffffffff, top, 1));
      top = fmaxf(top, __shfl_xor_sync(0xffffffff, top, 2));
      const float decay = exp2f((peak[r] - top) * problem.scale_log2);
      const float shift = fmaxf(top * problem.scale_log2, -1e38f);  // finite: -inf - shift must stay -inf
      peak[r] = top;
      sum[r] *= decay;
#pragma unroll
      for (int n = 0; n < kTileKV / 8; ++n)
#pragma unroll
        for (int e = 2 * r; e < 2 * r + 2; ++e) {
          s[n][e] = exp2f(fmaf(s[n][e], problem.scale_log2, -shift));
          sum[r] += s[n][e];
        }
#pragma unroll
      for (int n = 0; n < kHeadDim / 8; ++n) {
        acc[n][2 * r] *= decay;
        acc[n][2 * r + 1] *= decay;
      }
    }

    // O += P V; the accumulator layout of S is the operand layout of P.
#pragma unroll
    for (int n = 0; n < kTileKV; n += 16) {
      const uint32_t a[4] = {pack_bf16(s[n / 8][0], s[n / 8][1]), pack_bf16(s[n / 8][2], s[n / 8][3]),
                             pack_bf16(s[n / 8 + 1][0], s[n / 8 + 1][1]), pack_bf16(s[n / 8 + 1][2], s[n / 8 + 1][3])};
#pragma unroll
      for (int d = 0; d < kHeadDim; d += 16) {
        uint32_t b[4];
        load_matrices_transposed(b, tile_v + (n + lane % 16) * kRow + d + lane / 16 * 8);
        multiply(acc[d / 8], a, b[0], b[1]);
        multiply(acc[d / 8 + 1], a, b[2], b[3]);
      }
    }
  }

  // O / sum, two columns at a time.
#pragma unroll
  for (int r = 0; r < 2; ++r) {
    sum[r] += __shfl_xor_sync(0xffffffff, sum[r], 1);
    sum[r] += __shfl_xor_sync(0xffffffff, sum[r], 2);
    const int row = query + 8 * r;
    if (row >= sequence) continue;
    const float factor = 1.0f / sum[r];
#pragma unroll
    for (int n = 0; n < kHeadDim / 8; ++n)
      *reinterpret_cast<uint32_t*>(o + row * stride_q + 8 * n + 2 * (lane % 4)) =
          pack_bf16(acc[n][2 * r] * factor, acc[n][2 * r + 1] * factor);
  }
}

// ---- host -----------------------------------------------------------------------------------------------------

const char* refusal = nullptr;

const char* check(const void* q, const void* k, const void* v, const void* o, int batch, int heads_q, int heads_kv,
                  int sequence, int head_dim, float scale) {
  if (q == nullptr || k == nullptr || v == nullptr || o == nullptr) return "a tensor is null";
  const auto bits = reinterpret_cast<uintptr_t>(q) | reinterpret_cast<uintptr_t>(k) | reinterpret_cast<uintptr_t>(v) |
                    reinterpret_cast<uintptr_t>(o);
  if (bits % 16 != 0) return "tensors must be 16-byte aligned";
  if (head_dim != kHeadDim) return "head_dim must be 128";
  if (batch < 1 || sequence < 1 || heads_q < 1 || heads_kv < 1) return "every dimension must be at least 1";
  if (heads_q % heads_kv != 0) return "heads_q must be a multiple of heads_kv";
  if (!(scale > 0.0f) || !std::isfinite(scale)) return "scale must be positive and finite";
  if (batch > 65535 || heads_q > 65535 || sequence > (1 << 30)) return "the problem is too large for one grid";
  return nullptr;
}

}  // namespace

// NULL when the last call was accepted, else one line that says why it was not; its output is then untouched.
extern "C" const char* attention_status() { return refusal; }

extern "C" void attention_forward(const void* q, const void* k, const void* v, void* o, int batch, int heads_q,
                                  int heads_kv, int seqlen, int head_dim, int causal, float scale, void* stream) {
  refusal = check(q, k, v, o, batch, heads_q, heads_kv, seqlen, head_dim, scale);
  if (refusal != nullptr) return;
  const Problem problem{heads_q, heads_kv, seqlen, scale * 1.4426950408889634f};
  cudaFuncSetAttribute(attention_kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, kSharedBytes);
  const dim3 grid((seqlen + kTileQ - 1) / kTileQ, heads_q, batch);
  attention_kernel<<<grid, kThreads, kSharedBytes, static_cast<cudaStream_t>(stream)>>>(
      static_cast<const __nv_bfloat16*>(q), static_cast<const __nv_bfloat16*>(k),
      static_cast<const __nv_bfloat16*>(v), static_cast<__nv_bfloat16*>(o), problem, causal != 0);
  const cudaError_t error = cudaGetLastError();
  if (error != cudaSuccess) refusal = cudaGetErrorString(error);
}
