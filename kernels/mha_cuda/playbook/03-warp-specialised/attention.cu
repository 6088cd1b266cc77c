// Attention forward, sm_90a.   O = softmax(scale * Q K^T) V, optionally causal
//   Q, O         [batch, sequence, heads_q, 128] bf16, contiguous, 16-byte aligned
//   K, V         [batch, sequence, heads_kv, 128] bf16; heads_q is a multiple of heads_kv; any sequence from 1
//   Block        128 query rows: one producer thread, two consumer warpgroups of 64 rows
//   Shared       Q 32 KB + 2 stages x (K 32 KB + V 32 KB) = 160 KB
//   Numbers      scores, softmax and sums in float32, P rounded to bf16 for P V
//   Stage        03
#include "hopper.cuh"

#include <cmath>

using namespace hopper;

namespace {

// ---- shape of the kernel --------------------------------------------------------------------------------------

constexpr int kHeadDim = 128;
constexpr int kConsumers = 2;  // warpgroups that compute, 64 query rows each
constexpr int kTileKV = 128;   // keys of one step
constexpr int kThreads = 128 * (1 + kConsumers);
constexpr int kProducerRegisters = 24;
constexpr int kConsumerRegisters = 240;
constexpr int kTileQ = 64 * kConsumers;
constexpr int kStages = 2;  // K and V tiles in flight

constexpr int kBytesQ = kTileQ * kHeadDim * 2;
constexpr int kBytesKV = kTileKV * kHeadDim * 2;
constexpr int kHalfQ = kBytesQ / 2;  // from the first 64 columns to the second
constexpr int kHalfKV = kBytesKV / 2;
constexpr int kAlignment = 1024;  // of the 128-byte swizzle
constexpr int kSharedBytes = kBytesQ + kStages * 2 * kBytesKV + 128 + kAlignment;

static_assert(kHeadDim == 128, "descriptors, copies and registers assume two halves of 64 columns");
static_assert(kTileKV % 16 == 0, "P * V goes 16 keys at a time");
static_assert(kSharedBytes <= 227 * 1024, "shared memory of one block on sm_90");
static_assert(128 * kProducerRegisters + 256 * kConsumerRegisters <= 168 * kThreads, "registers given at launch");

struct Problem {
  int heads_q, heads_kv, sequence;
  float scale_log2;
};

// Everything in shared memory, by address.
struct Shared {
  uint32_t base;
  __device__ uint32_t q() const { return base; }
  __device__ uint32_t k(int stage) const { return base + kBytesQ + 2 * stage * kBytesKV; }
  __device__ uint32_t v(int stage) const { return k(stage) + kBytesKV; }
  __device__ uint32_t barriers() const { return k(kStages); }
  __device__ uint32_t q_full() const { return barriers(); }
  __device__ uint32_t k_full(int stage) const { return barriers() + 8 + stage * 32; }
  __device__ uint32_t v_full(int stage) const { return k_full(stage) + 8; }
  __device__ uint32_t k_empty(int stage) const { return k_full(stage) + 16; }
  __device__ uint32_t v_empty(int stage) const { return k_full(stage) + 24; }
};

// ---- one step of the attention, for the 64 query rows of a warpgroup ------------------------------------------------

// The running softmax of this thread's two rows: lane / 4 and eight below.
struct Rows {
  float peak[2] = {-1e38f, -1e38f};  // largest score seen, unscaled
  float sum[2] = {0.0f, 0.0f};       // of the exponentials of this thread's columns
  float decay[2];                    // what the accumulator must be multiplied by before the next P * V
};

// S = Q K^T. Leaves one committed group of wgmma in flight.
__device__ __forceinline__ void multiply_qk(float (&s)[kTileKV / 2], uint32_t q, uint32_t k) {
  const uint64_t a = matrix_descriptor(q, 0);
  const uint64_t b = matrix_descriptor(k, 0);
#pragma unroll
  for (int i = 0; i < 8; ++i)
    wgmma_qk(s, a + (i / 4) * (kHalfQ >> 4) + (i % 4) * 2, b + (i / 4) * (kHalfKV >> 4) + (i % 4) * 2, i != 0);
  wgmma_commit();
}

// O += P V. Leaves one committed group of wgmma in flight.
__device__ __forceinline__ void multiply_pv(float (&o)[64], const uint32_t (&p)[kTileKV / 4], uint32_t v) {
  const uint64_t b = matrix_descriptor(v, kHalfKV);
#pragma unroll
  for (int i = 0; i < kTileKV / 16; ++i) wgmma_pv(o, p + 4 * i, b + i * (2048 >> 4), 1);
  wgmma_commit();
}

// Minus infinity where the key lies beyond the sequence or, when causal, behind the query.
template <bool kCausal>
__device__ __forceinline__ void mask(float (&s)[kTileKV / 2], int first_key, int row, int sequence) {
  const int lane_column = 2 * (threadIdx.x % 4);
  const int above = (kCausal ? min(sequence, row + 1) : sequence) - first_key - lane_column;
  const int below = (kCausal ? min(sequence, row + 9) : sequence) - first_key - lane_column;
#pragma unroll
  for (int j = 0; j < kTileKV / 8; ++j) {
    if (8 * j >= above) s[4 * j] = -INFINITY;
    if (8 * j + 1 >= above) s[4 * j + 1] = -INFINITY;
    if (8 * j >= below) s[4 * j + 2] = -INFINITY;
    if (8 * j + 1 >= below) s[4 * j + 3] = -INFINITY;
  }
}

// S becomes exp2(scale * (S - peak)); peak, sum and decay move on.
__device__ __forceinline__ void softmax(float (&s)[kTileKV / 2], Rows& rows, float scale_log2) {
  float shift[2];
#pragma unroll
  for (int r = 0; r < 2; ++r) {
    float top = fmaxf(s[2 * r], s[2 * r + 1]);
#pragma unroll
    for (int j = 1; j < kTileKV / 8; ++j) top = fmaxf(top, fmaxf(s[4 * j + 2 * r], s[4 * j + 2 * r + 1]));
    top = fmaxf(top, __shfl_xor_sync(0xffffffff, top, 1));
    top = fmaxf(top, __shfl_xor_sync(0xffffffff, top, 2));
    const float peak = fmaxf(rows.peak[r], top);
    rows.decay[r] = exp2_fast((rows.peak[r] - peak) * scale_log2);
    rows.peak[r] = peak;
    rows.sum[r] *= rows.decay[r];
    shift[r] = fmaxf(peak * scale_log2, -1e38f);  // finite, so that -inf - shift stays -inf
  }
#pragma unroll
  for (int j = 0; j < kTileKV / 8; ++j)
#pragma unroll
    for (int e = 0; e < 4; ++e) {
      s[4 * j + e] = exp2_fast(fmaf(s[4 * j + e], scale_log2, -shift[e / 2]));
      rows.sum[e / 2] += s[4 * j + e];
    }
}

// O / sum as bf16, straight from registers: two columns a thread, the sectors of a row come from four lanes.
__device__ __forceinline__ void finish(const float (&o)[64], Rows& rows, __nv_bfloat16* tile_o, int row, int sequence,
                                       long long row_stride) {
#pragma unroll
  for (int r = 0; r < 2; ++r) {
    float sum = rows.sum[r];
    sum += __shfl_xor_sync(0xffffffff, sum, 1);
    sum += __shfl_xor_sync(0xffffffff, sum, 2);
    const float factor = 1.0f / sum;
    if (row + 8 * r >= sequence) continue;
    __nv_bfloat16* const line = tile_o + (row + 8 * r) * row_stride + 2 * (threadIdx.x % 4);
#pragma unroll
    for (int j = 0; j < 16; ++j)
      *reinterpret_cast<uint32_t*>(line + 8 * j) = pack_bf16(o[4 * j + 2 * r] * factor, o[4 * j + 2 * r + 1] * factor);
  }
}

template <bool kCausal>
__global__ void __launch_bounds__(kThreads, 1)
    attention_kernel(const __grid_constant__ CUtensorMap map_q, const __grid_constant__ CUtensorMap map_k,
                     const __grid_constant__ CUtensorMap map_v, __nv_bfloat16* o_tensor, const Problem problem) {
  extern __shared__ uint8_t memory[];
  const Shared shared{(shared_address(memory) + kAlignment - 1) / kAlignment * kAlignment};

  // blockIdx.x: query tile, longest first when causal; y: query head; z: batch.
  const int row_tile = kCausal ? gridDim.x - 1 - blockIdx.x : blockIdx.x;
  const int head = blockIdx.y, batch = blockIdx.z;
  const int head_kv = head / (problem.heads_q / problem.heads_kv);
  const int first_row = row_tile * kTileQ;
  const int keys = kCausal ? min(first_row + kTileQ, problem.sequence) : problem.sequence;
  const int steps = (keys + kTileKV - 1) / kTileKV;

  if (threadIdx.x == 0) {
    barrier_init(shared.q_full(), 1);
    for (int stage = 0; stage < kStages; ++stage) {
      barrier_init(shared.k_full(stage), 1);
      barrier_init(shared.v_full(stage), 1);
      barrier_init(shared.k_empty(stage), 4 * kConsumers);
      barrier_init(shared.v_empty(stage), 4 * kConsumers);
    }
    barrier_init_fence();
  }
  __syncthreads();

  auto load = [&](const CUtensorMap* map, uint32_t target, uint32_t barrier, int step) {
    barrier_expect(barrier, kBytesKV);
    load_tile(target, map, barrier, step * kTileKV, head_kv, batch);
  };
  const int warpgroup = __shfl_sync(0xffffffff, threadIdx.x / 128, 0);
  if (warpgroup == 0) {
    // Producer: one thread keeps the copy engine two steps ahead.
    give_registers<kProducerRegisters>();
    if (threadIdx.x == 0) {
      barrier_expect(shared.q_full(), kBytesQ);
      load_tile(shared.q(), &map_q, shared.q_full(), first_row, head, batch);
      for (int step = 0; step < steps; ++step) {
        const int stage = step % kStages;
        const uint32_t phase = step / kStages % 2;
        barrier_wait(shared.k_empty(stage), phase ^ 1);
        load(&map_k, shared.k(stage), shared.k_full(stage), step);
        barrier_wait(shared.v_empty(stage), phase ^ 1);
        load(&map_v, shared.v(stage), shared.v_full(stage), step);
      }
    }
  } else {
    take_registers<kConsumerRegisters>();
    const int group = warpgroup - 1;
    const bool releases = threadIdx.x % 32 == 0;  // one arrival per warp
    const int row = first_row + 64 * group + 16 * (threadIdx.x / 32 % 4) + threadIdx.x % 32 / 4;
    float s[kTileKV / 2], o[64];
    uint32_t p[kTileKV / 4];
    Rows rows;
#pragma unroll
    for (int i = 0; i < 64; ++i) o[i] = 0.0f;
    barrier_wait(shared.q_full(), 0);
    for (int step = 0; step < steps; ++step) {
      const int stage = step % kStages;
      const uint32_t phase = step / kStages % 2;
      barrier_wait(shared.k_full(stage), phase);
      wgmma_fence();
      multiply_qk(s, shared.q() + 64 * group * 128, shared.k(stage));
      wgmma_wait<0>();
      hold(s);
      if (releases) barrier_arrive(shared.k_empty(stage));
      const int last_key = (step + 1) * kTileKV - 1;
      if (last_key >= problem.sequence || (kCausal && last_key > first_row + 64 * group))
        mask<kCausal>(s, step * kTileKV, row, problem.sequence);
      softmax(s, rows, problem.scale_log2);
#pragma unroll
      for (int j = 0; j < 16; ++j)
#pragma unroll
        for (int e = 0; e < 4; ++e) o[4 * j + e] *= rows.decay[e / 2];
#pragma unroll
      for (int i = 0; i < kTileKV / 4; ++i) p[i] = pack_bf16(s[2 * i], s[2 * i + 1]);
      barrier_wait(shared.v_full(stage), phase);
      wgmma_fence();
      multiply_pv(o, p, shared.v(stage));
      wgmma_wait<0>();
      hold(o);
      if (releases) barrier_arrive(shared.v_empty(stage));
    }
    const long long row_stride = static_cast<long long>(problem.heads_q) * kHeadDim;
    finish(o, rows, o_tensor + static_cast<long long>(batch) * problem.sequence * row_stride + head * kHeadDim, row,
           problem.sequence, row_stride);
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

template <bool kCausal>
const char* launch(const void* q, const void* k, const void* v, void* o, int batch, const Problem& problem,
                   cudaStream_t stream) {
  CUtensorMap map_q, map_k, map_v;
  if (!make_map(&map_q, q, batch, problem.sequence, problem.heads_q, kTileQ, 2) ||
      !make_map(&map_k, k, batch, problem.sequence, problem.heads_kv, kTileKV, 2) ||
      !make_map(&map_v, v, batch, problem.sequence, problem.heads_kv, kTileKV, 2))
    return "the driver refused a tensor map for this shape";
  cudaFuncSetAttribute(attention_kernel<kCausal>, cudaFuncAttributeMaxDynamicSharedMemorySize, kSharedBytes);
  const dim3 grid((problem.sequence + kTileQ - 1) / kTileQ, problem.heads_q, batch);
  attention_kernel<kCausal>
      <<<grid, kThreads, kSharedBytes, stream>>>(map_q, map_k, map_v, static_cast<__nv_bfloat16*>(o), problem);
  const cudaError_t error = cudaGetLastError();
  return error == cudaSuccess ? nullptr : cudaGetErrorString(error);
}

}  // namespace

// NULL when the last call was accepted, else one line that says why it was not; its output is then untouched.
extern "C" const char* attention_status() {
  return refusal;
}

extern "C" void attention_forward(const void* q, const void* k, const void* v, void* o, int batch, int heads_q,
                                  int heads_kv, int seqlen, int head_dim, int causal, float scale, void* stream) {
  refusal = check(q, k, v, o, batch, heads_q, heads_kv, seqlen, head_dim, scale);
  if (refusal != nullptr) return;
  const Problem problem{heads_q, heads_kv, seqlen, scale * 1.4426950408889634f};
  const auto queue = static_cast<cudaStream_t>(stream);
  refusal = causal ? launch<true>(q, k, v, o, batch, problem, queue) : launch<false>(q, k, v, o, batch, problem, queue);
}
