// Attention forward, sm_90a.   O = softmax(scale * Q K^T) V, optionally causal
//   Q, O         [batch, sequence, heads_q, 128] bf16, contiguous, 16-byte aligned
//   K, V         [batch, sequence, heads_kv, 128] bf16; heads_q is a multiple of heads_kv; any sequence from 1
//   Block        128 query rows: one producer thread, two consumer warpgroups of 64 rows
//   Grid         persistent: one block per multiprocessor
//   Shared       2 x Q 32 KB (O leaves through them) + 5 x 32 KB for K and V = 224 KB
//   Registers    S 64, O 64, P 2 x 32 of 232
//   Numbers      scores, softmax and sums in float32, P rounded to bf16 for P V
//                the maximum may lag until a thread's sum of a step passes 2^13; the final division removes that
//   Full         the last, partial wave of tiles is split by keys; the parts are combined in a fixed order
//   Turns        the consumers issue their products one after the other, so that one's softmax lies under the other's
#include "hopper.cuh"

#include <atomic>
#include <cmath>
#include <mutex>

using namespace hopper;

namespace {

// ---- shape of the kernel --------------------------------------------------------------------------------------

constexpr int kHeadDim = 128;
constexpr int kTileQ = 128;    // query rows of a block: 64 for each consumer warpgroup
constexpr int kTileKV = 128;   // keys of one step
constexpr int kBuffers = 5;    // K and V tiles in flight, one ring for both
constexpr int kConsumers = 2;  // warpgroups that compute
constexpr int kThreads = 128 * (1 + kConsumers);
constexpr int kProducerRegisters = 40;
constexpr int kConsumerRegisters = 232;
constexpr int kCounters = 256;                    // launches that may be in flight at once
constexpr int kMaxParts = 16;                     // of a split tile
constexpr int kMaxSplit = 128;                    // split tiles of one launch
constexpr int kCounterWords = 2 + 2 * kMaxSplit;  // next item, blocks done, parts done by split tile and group
constexpr float kLimit = 8192.0f;                 // a thread's sum over one row of a step that asks for a new peak
constexpr float kFloor = 0x1p-40f;                // a row's sum over its first step that asks for one, too
constexpr long long kSectionBytes = 32 << 20;     // K and V of the heads that run together

constexpr int kBytesQ = kTileQ * kHeadDim * 2;
constexpr int kBytesKV = kTileKV * kHeadDim * 2;
constexpr int kHalfQ = kBytesQ / 2;  // from the first 64 columns to the second
constexpr int kHalfKV = kBytesKV / 2;
constexpr int kAlignment = 1024;  // of the 128-byte swizzle
constexpr int kSharedBytes = 2 * kBytesQ + kBuffers * kBytesKV + 512 + kAlignment;

static_assert(kHeadDim == 128, "descriptors, copies and registers assume two halves of 64 columns");
static_assert(kTileKV % 16 == 0, "P * V goes 16 keys at a time");
static_assert(kTileKV % 8 == 0 && kBytesKV % kAlignment == 0, "every tile starts on a swizzle period");
static_assert(kSharedBytes <= 227 * 1024, "shared memory of one block on sm_90");
static_assert(128 * kProducerRegisters + 256 * kConsumerRegisters <= 168 * kThreads, "registers given at launch");

struct Problem {
  int batch, heads_q, heads_kv, sequence;
  int row_tiles;      // query tiles of one head
  int items;          // pieces of work: whole tiles, then the parts of the split ones
  int whole;          // tiles that are not split
  int parts;          // of every split tile
  float4* workspace;  // [split tile][part][group][17][128]: O, then peaks and sums
  int section;        // heads whose K and V share the second-level cache
  float scale_log2;
  unsigned* counter;  // kCounterWords of them
};

struct Tile {
  int steps;  // key tiles to visit; 0 ends the work
  int row;    // first query row
  int head, batch;
  int first;        // first key tile of this part
  int part, parts;  // a split tile's parts meet in memory; 1 part is a whole tile
  int place;        // among the split tiles
};

// Everything in shared memory, by address.
struct Shared {
  uint32_t base;
  __device__ uint32_t q(int slot) const { return base + slot * kBytesQ; }
  __device__ uint32_t kv(int slot) const { return base + 2 * kBytesQ + slot * kBytesKV; }
  __device__ uint32_t barriers() const { return kv(kBuffers); }
  __device__ uint32_t q_full(int slot) const { return barriers() + slot * 8; }
  __device__ uint32_t q_empty(int slot) const { return barriers() + 16 + slot * 8; }
  __device__ uint32_t kv_full(int slot) const { return barriers() + 32 + slot * 8; }
  __device__ uint32_t kv_empty(int slot) const { return barriers() + 32 + kBuffers * 8 + slot * 8; }
  __device__ uint32_t tile(int slot) const { return barriers() + 32 + kBuffers * 16 + slot * 32; }
  __device__ uint32_t verdict(int group) const { return tile(2) + 4 * group; }
};

// A position in a ring of barriers; the phase flips once per turn.
template <int kSlots>
struct Cursor {
  int slot = 0;
  uint32_t phase = 0;
  __device__ __forceinline__ void advance() {
    if (++slot == kSlots) {
      slot = 0;
      phase ^= 1;
    }
  }
};

// ---- order of the work ----------------------------------------------------------------------------------------

// The i-th piece of work.
template <bool kCausal>
__device__ Tile tile_at(int i, const Problem& problem) {
  const int key_tiles = (problem.sequence + kTileKV - 1) / kTileKV;
  int row_tile, head;
  const int item = i;
  if (!kCausal && i > problem.whole) i = problem.whole + (i - problem.whole) / problem.parts;
  if (kCausal) {  // heads in sections that fit the cache, longest tiles first in each section
    const int heads = problem.batch * problem.heads_q;
    const int per_section = problem.section * problem.row_tiles;
    const int section = i / per_section;
    const int members = min(problem.section, heads - section * problem.section);
    const int rest = i - section * per_section;
    row_tile = problem.row_tiles - 1 - rest / members;
    head = section * problem.section + rest % members;
  } else {
    row_tile = i % problem.row_tiles;
    head = i / problem.row_tiles;
  }
  Tile tile;
  tile.row = row_tile * kTileQ;
  tile.head = head % problem.heads_q;
  tile.batch = head / problem.heads_q;
  tile.steps = kCausal ? min((tile.row + kTileQ + kTileKV - 1) / kTileKV, key_tiles) : key_tiles;
  tile.first = 0;
  tile.part = tile.place = 0;
  tile.parts = 1;
  if (!kCausal && item >= problem.whole) {
    tile.parts = problem.parts;
    tile.place = i - problem.whole;
    tile.part = (item - problem.whole) % problem.parts;
    tile.first = tile.part * key_tiles / tile.parts;
    tile.steps = (tile.part + 1) * key_tiles / tile.parts - tile.first;
  }
  return tile;
}

// ---- producer: one thread keeps the copy engine busy ------------------------------------------------------------

template <bool kCausal>
__device__ __forceinline__ void produce(const Shared& shared, const CUtensorMap* map_q, const CUtensorMap* map_k,
                                        const CUtensorMap* map_v, const Problem& problem) {
  const int group = problem.heads_q / problem.heads_kv;
  Cursor<2> q;
  Cursor<kBuffers> kv;
  int next = blockIdx.x;
  auto load = [&](const CUtensorMap* map, int step, int head, int batch) {
    barrier_wait(shared.kv_empty(kv.slot), kv.phase ^ 1);
    barrier_expect(shared.kv_full(kv.slot), kBytesKV);
    load_tile(shared.kv(kv.slot), map, shared.kv_full(kv.slot), step * kTileKV, head, batch);
    kv.advance();
  };
  // The queries, and with them what the tile is. After the tile's first K: a consumer frees the Q slot of the tile
  // before last only once it has seen that K arrive.
  auto load_queries = [&](const Tile& tile) {
    barrier_wait(shared.q_empty(q.slot), q.phase ^ 1);
    asm volatile("st.shared.v4.b32 [%0], {%1, %2, %3, %4};" ::"r"(shared.tile(q.slot)), "r"(tile.steps), "r"(tile.row),
                 "r"(tile.head), "r"(tile.batch)
                 : "memory");
    if (!kCausal)
      asm volatile("st.shared.v4.b32 [%0], {%1, %2, %3, %4};" ::"r"(shared.tile(q.slot) + 16), "r"(tile.first),
                   "r"(tile.part), "r"(tile.parts), "r"(tile.place)
                   : "memory");
    barrier_expect(shared.q_full(q.slot), kBytesQ);
    load_tile(shared.q(q.slot), map_q, shared.q_full(q.slot), tile.row, tile.head, tile.batch);
    q.advance();
  };
  int last_step = -1, last_head = 0, last_batch = 0;  // the V tile that trails its K tile
  while (next < problem.items) {
    const Tile tile = tile_at<kCausal>(next, problem);
    const int head = tile.head / group;
    next = kCausal ? gridDim.x + atomicAdd(problem.counter, 1) : next + gridDim.x;
    // K of step i, then V of step i - 1: the order in which the consumers take them, across tiles too.
    for (int step = 0; step < tile.steps; ++step) {
      const int block = tile.first + tile.steps - 1 - step;
      load(map_k, block, head, tile.batch);
      if (step == 0) load_queries(tile);
      if (last_step >= 0) load(map_v, last_step, last_head, last_batch);
      last_step = block;
      last_head = head;
      last_batch = tile.batch;
    }
  }
  if (last_step >= 0) load(map_v, last_step, last_head, last_batch);
  // The end, told through the same ring.
  barrier_wait(shared.q_empty(q.slot), q.phase ^ 1);
  asm volatile("st.shared.v4.b32 [%0], {%1, %1, %1, %1};" ::"r"(shared.tile(q.slot)), "r"(0) : "memory");
  barrier_arrive(shared.q_full(q.slot));
  // The last block leaves the counters as it found them, for a later launch.
  __threadfence();
  if (atomicAdd(problem.counter + 1, 1) == gridDim.x - 1) {
    problem.counter[0] = 0;
    problem.counter[1] = 0;
  }
}

// ---- consumers: 64 query rows each ------------------------------------------------------------------------------

// The running softmax of this thread's two rows: lane / 4 and eight below.
struct Rows {
  float peak[2];   // the unscaled score that P is relative to; later ones may pass it by far less than kLimit
  float sum[2];    // of the exponentials of this thread's columns
  float decay[2];  // what the accumulator must be multiplied by before the next P * V
  __device__ __forceinline__ void reset() {
    peak[0] = peak[1] = 0.0f;  // a guess, see softmax()
    sum[0] = sum[1] = 0.0f;
  }
};

// S = Q K^T for the group's 64 rows. Leaves one committed group of wgmma in flight.
__device__ __forceinline__ void multiply_qk(float (&s)[kTileKV / 2], uint32_t q, uint32_t k) {
  const uint64_t a = matrix_descriptor(q, 0);
  const uint64_t b = matrix_descriptor(k, 0);
#pragma unroll
  for (int i = 0; i < 8; ++i)
    wgmma_qk(s, a + (i / 4) * (kHalfQ >> 4) + (i % 4) * 2, b + (i / 4) * (kHalfKV >> 4) + (i % 4) * 2, i != 0);
  wgmma_commit();
}

// O (+)= P V. Leaves one committed group of wgmma in flight.
__device__ __forceinline__ void multiply_pv(float (&o)[64], const uint32_t (&p)[kTileKV / 4], uint32_t v,
                                            int accumulate) {
  const uint64_t b = matrix_descriptor(v, kHalfKV);
#pragma unroll
  for (int i = 0; i < kTileKV / 16; ++i) wgmma_pv(o, p + 4 * i, b + i * (2048 >> 4), i != 0 || accumulate);
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

// P = exp2(scale * S - shift) as bf16, and the sums of the exponentials; S stays.
__device__ __forceinline__ void exponentiate(uint32_t (&p)[kTileKV / 4], float (&sum)[2], const float (&s)[kTileKV / 2],
                                             const Rows& rows, float scale_log2) {
  float shift[2];
#pragma unroll
  for (int r = 0; r < 2; ++r) {
    shift[r] = fmaxf(rows.peak[r] * scale_log2, -1e38f);  // finite, so that -inf - shift stays -inf
    sum[r] = 0.0f;
  }
#pragma unroll
  for (int i = 0; i < kTileKV / 4; ++i) {
    const int r = i % 2;
    const float low = exp2_fast(fmaf(s[2 * i], scale_log2, -shift[r]));
    const float high = exp2_fast(fmaf(s[2 * i + 1], scale_log2, -shift[r]));
    sum[r] += low;
    sum[r] += high;
    p[i] = pack_bf16(low, high);
  }
}

// P of this step. The exponentials do not wait for the maximum: they use the last peak, and only when their sum says
// that a score passed it by far is the maximum found, and they are done again. A lagging peak costs no accuracy,
// because bf16 and float32 share their exponents and the final division removes the factor.
// A tile's first peak is zero, the same for every tile, so that results do not depend on what a block did before; scores
// of many powers of two above it, or rows far below it, are done again from their true maximum.
__device__ __forceinline__ void softmax(uint32_t (&p)[kTileKV / 4], const float (&s)[kTileKV / 2], Rows& rows,
                                        bool first, float scale_log2) {
  float sum[2];
  rows.decay[0] = rows.decay[1] = 1.0f;
  exponentiate(p, sum, s, rows, scale_log2);
  bool again = fmaxf(sum[0], sum[1]) > kLimit;
  if (first) {
    float above = sum[0] + __shfl_xor_sync(0xffffffff, sum[0], 1),
          below = sum[1] + __shfl_xor_sync(0xffffffff, sum[1], 1);
    above += __shfl_xor_sync(0xffffffff, above, 2);
    below += __shfl_xor_sync(0xffffffff, below, 2);
    again = again || fminf(above, below) < kFloor;
  }
  if (__any_sync(0xffffffff, again)) {
#pragma unroll
    for (int r = 0; r < 2; ++r) {
      float top = fmaxf(s[2 * r], s[2 * r + 1]);
#pragma unroll
      for (int j = 1; j < kTileKV / 8; ++j) top = fmaxf(top, fmaxf(s[4 * j + 2 * r], s[4 * j + 2 * r + 1]));
      top = fmaxf(top, __shfl_xor_sync(0xffffffff, top, 1));
      top = fmaxf(top, __shfl_xor_sync(0xffffffff, top, 2));
      const float peak = first ? top : fmaxf(rows.peak[r], top);
      if (!first) rows.decay[r] = exp2_fast((rows.peak[r] - peak) * scale_log2);  // nothing to rescale before
      rows.peak[r] = peak;
      rows.sum[r] *= rows.decay[r];
    }
    exponentiate(p, sum, s, rows, scale_log2);
  }
  rows.sum[0] += sum[0];
  rows.sum[1] += sum[1];
}

__device__ __forceinline__ void rescale(float (&o)[64], const Rows& rows) {
#pragma unroll
  for (int j = 0; j < 16; ++j)
#pragma unroll
    for (int e = 0; e < 4; ++e) o[4 * j + e] *= rows.decay[e / 2];
}

// O / sum as bf16 over the group's rows of the finished Q tile, and on its way to global memory.
__device__ __forceinline__ void finish(const float (&o)[64], float sum_above, float sum_below, uint32_t staging,
                                       const CUtensorMap* map_o, const Tile& tile, int group) {
  float factor[2] = {sum_above, sum_below};
#pragma unroll
  for (int r = 0; r < 2; ++r) {
    factor[r] += __shfl_xor_sync(0xffffffff, factor[r], 1);
    factor[r] += __shfl_xor_sync(0xffffffff, factor[r], 2);
    factor[r] = __frcp_rn(factor[r]);
  }
  const int lane = threadIdx.x % 32;
  const int row = 64 * group + 16 * (threadIdx.x / 32 % 4) + lane % 16;
  const uint32_t line = staging + row * 128;
#pragma unroll
  for (int j = 0; j < 16; j += 2) {  // two columns of 8: chunk j of the first matrices, j + 1 of the second
    const int chunk = j % 8 + lane / 16;
    store_matrices(line + (j / 8) * kHalfQ + ((chunk ^ (row & 7)) << 4),
                   pack_bf16(o[4 * j] * factor[0], o[4 * j + 1] * factor[0]),
                   pack_bf16(o[4 * j + 2] * factor[1], o[4 * j + 3] * factor[1]),
                   pack_bf16(o[4 * j + 4] * factor[0], o[4 * j + 5] * factor[0]),
                   pack_bf16(o[4 * j + 6] * factor[1], o[4 * j + 7] * factor[1]));
  }
  async_proxy_fence();
  named_sync(1 + group, 128);
  if (threadIdx.x % 128 == 0) {
    const uint32_t rows = staging + 64 * group * 128;
    store_tile(map_o, rows, 0, tile.row + 64 * group, tile.head, tile.batch);
    store_tile(map_o, rows + kHalfQ, 1, tile.row + 64 * group, tile.head, tile.batch);
    store_commit();
  }
}

// Leaves this part of a split tile in memory. The group that comes last reads all parts, in order, so that the
// result does not depend on who that was; it alone returns true, with O and the sums of the whole tile.
__device__ __forceinline__ bool merge(float (&o)[64], float (&sum)[2], const float (&peak)[2], const Shared& shared,
                                      const Problem& problem, const Tile& tile, int group) {
  constexpr int kPart = 2 * 17 * 128;  // float4 of one part, both groups
  const int thread = threadIdx.x % 128;
  float4* const parts =
      problem.workspace + static_cast<long long>(tile.place) * tile.parts * kPart + group * 17 * 128 + thread;
  float4* const mine = parts + tile.part * kPart;
#pragma unroll
  for (int i = 0; i < 16; ++i) __stcg(mine + i * 128, make_float4(o[4 * i], o[4 * i + 1], o[4 * i + 2], o[4 * i + 3]));
  __stcg(mine + 16 * 128, make_float4(peak[0], peak[1], sum[0], sum[1]));
  __threadfence();
  named_sync(1 + group, 128);
  if (thread == 0) {
    unsigned* const arrived = problem.counter + 2 + 2 * tile.place + group;
    const bool last = atomicAdd(arrived, 1) == tile.parts - 1;
    if (last) *arrived = 0;  // for a later launch
    __threadfence();
    asm volatile("st.shared.b32 [%0], %1;" ::"r"(shared.verdict(group)), "r"(static_cast<int>(last)) : "memory");
  }
  named_sync(1 + group, 128);
  int last;
  asm volatile("ld.shared.b32 %0, [%1];" : "=r"(last) : "r"(shared.verdict(group)) : "memory");
  if (__shfl_sync(0xffffffff, last, 0) == 0) return false;
  float top[2] = {-1e38f, -1e38f};
  for (int part = 0; part < tile.parts; ++part) {
    const float4 row = __ldcg(parts + part * kPart + 16 * 128);
    top[0] = fmaxf(top[0], row.x);
    top[1] = fmaxf(top[1], row.y);
  }
  sum[0] = sum[1] = 0.0f;
#pragma unroll
  for (int i = 0; i < 64; ++i) o[i] = 0.0f;
  for (int part = 0; part < tile.parts; ++part) {
    const float4 row = __ldcg(parts + part * kPart + 16 * 128);
    const float above = exp2_fast((row.x - top[0]) * problem.scale_log2);
    const float below = exp2_fast((row.y - top[1]) * problem.scale_log2);
    sum[0] = fmaf(row.z, above, sum[0]);
    sum[1] = fmaf(row.w, below, sum[1]);
#pragma unroll
    for (int i = 0; i < 16; ++i) {
      const float4 value = __ldcg(parts + part * kPart + i * 128);
      o[4 * i] = fmaf(value.x, above, o[4 * i]);
      o[4 * i + 1] = fmaf(value.y, above, o[4 * i + 1]);
      o[4 * i + 2] = fmaf(value.z, below, o[4 * i + 2]);
      o[4 * i + 3] = fmaf(value.w, below, o[4 * i + 3]);
    }
  }
  return true;
}

template <bool kCausal>
__device__ __forceinline__ void consume(const Shared& shared, const CUtensorMap* map_o, const Problem& problem,
                                        int group) {
  const float scale_log2 = problem.scale_log2;
  const bool releases = threadIdx.x % 32 == 0;  // one arrival per warp
  const int row = 64 * group + 16 * (threadIdx.x / 32 % 4) + threadIdx.x % 32 / 4;
  Cursor<2> q;
  Cursor<kBuffers> kv;

  // What the next Q slot holds; the same in every lane, and the compiler may know.
  auto next_tile = [&]() {
    barrier_wait(shared.q_full(q.slot), q.phase);
    Tile tile;
    asm volatile("ld.shared.v4.b32 {%0, %1, %2, %3}, [%4];"
                 : "=r"(tile.steps), "=r"(tile.row), "=r"(tile.head), "=r"(tile.batch)
                 : "r"(shared.tile(q.slot)));
    tile.first = 0;
    if (!kCausal) {
      asm volatile("ld.shared.v4.b32 {%0, %1, %2, %3}, [%4];"
                   : "=r"(tile.first), "=r"(tile.part), "=r"(tile.parts), "=r"(tile.place)
                   : "r"(shared.tile(q.slot) + 16));
      tile.first = __shfl_sync(0xffffffff, tile.first, 0);
      tile.parts = __shfl_sync(0xffffffff, tile.parts, 0);
    }
    tile.steps = __shfl_sync(0xffffffff, tile.steps, 0);
    tile.row = __shfl_sync(0xffffffff, tile.row, 0);
    return tile;
  };
  auto masked = [&](const Tile& tile, int block) {
    return (block + 1) * kTileKV > problem.sequence || (kCausal && (block + 1) * kTileKV - 1 > tile.row + 64 * group);
  };
  auto block_of = [](const Tile& tile, int step) { return tile.first + tile.steps - 1 - step; };

  Tile tile = next_tile();
  if (tile.steps == 0) return;
  float s[kTileKV / 2], o[64];
  uint32_t pa[kTileKV / 4], pb[kTileKV / 4];  // P of alternate steps: one is computed while P V reads the other
  Rows rows;
  rows.reset();

  // The first Q K^T and softmax have nothing to overlap with.
  barrier_wait(shared.kv_full(kv.slot), kv.phase);
  wgmma_fence();
  multiply_qk(s, shared.q(q.slot) + 64 * group * 128, shared.kv(kv.slot));
  wgmma_wait<0>();
  hold(s);
  if (releases) barrier_arrive(shared.kv_empty(kv.slot));
  kv.advance();
  if (masked(tile, block_of(tile, 0))) mask<kCausal>(s, block_of(tile, 0) * kTileKV, tile.row + row, problem.sequence);
  softmax(pa, s, rows, true, scale_log2);
  if (group == 0) named_arrive(3, 256);  // group 0 may issue first

  // One loop over all steps of all tiles. P of the previous step waits in registers; when that step ended its tile,
  // this step's Q K^T already belongs to the next one.
  int step = 0;
  int q_slot = q.slot;
  bool fresh = true;     // the pending P starts its tile, so P V overwrites O
  bool storing = false;  // the previous tile's O is being read out of its Q slot
  q.advance();
  // Hands the previous tile's Q slot back once the copy engine has read O out of it.
  auto free_stored = [&]() {
    if (storing && threadIdx.x % 128 == 0) {
      store_wait_read();
      barrier_arrive(shared.q_empty(q_slot ^ 1));
    }
    storing = false;
  };
  barrier_wait(shared.kv_full(kv.slot), kv.phase);
  // One step: `p` waits, `p_next` is made. False when there was none left.
  auto turn = [&](uint32_t (&p)[kTileKV / 4], uint32_t (&p_next)[kTileKV / 4]) {
    const bool ends = step == tile.steps - 1;
    Tile now = tile;
    if (ends) {
      free_stored();
      now = next_tile();
      if (now.steps == 0) return false;
    }
    const int now_step = ends ? 0 : step + 1;
    const int now_slot = ends ? q.slot : q_slot;

    // Q K^T of this step, then P V of the previous one, whose O is rescaled in the meantime.
    const int k_slot = kv.slot;  // full: the wait below came first
    kv.advance();
    named_sync(3 + group, 256);  // the other group has issued its products
    wgmma_fence();
    multiply_qk(s, shared.q(now_slot) + 64 * group * 128, shared.kv(k_slot));
    free_stored();
    if (__any_sync(0xffffffff, rows.decay[0] != 1.0f || rows.decay[1] != 1.0f)) rescale(o, rows);
    barrier_wait(shared.kv_full(kv.slot), kv.phase);
    const int v_slot = kv.slot;
    kv.advance();
    wgmma_fence();
    multiply_pv(o, p, shared.kv(v_slot), !fresh);
    named_arrive(4 - group, 256);  // the other group's turn
    wgmma_wait<1>();
    hold(s);
    if (releases) barrier_arrive(shared.kv_empty(k_slot));

    // Softmax of this step while P V runs.
    float ended[2] = {rows.sum[0], rows.sum[1]};  // of the tile that may have ended
    const float peak[2] = {rows.peak[0], rows.peak[1]};
    if (ends) rows.reset();
    const int block = block_of(now, now_step);
    if (masked(now, block)) mask<kCausal>(s, block * kTileKV, now.row + row, problem.sequence);
    softmax(p_next, s, rows, ends, scale_log2);
    // Whatever comes next in the ring: it is needed next, and this wait keeps ptxas from raising the wait for P V
    // above the exponentials, after which nothing would overlap. So its phase pretends to depend on their sum,
    // which is never negative.
    barrier_wait(shared.kv_full(kv.slot), kv.phase ^ static_cast<uint32_t>(rows.sum[0] + rows.sum[1] < 0.0f));
    wgmma_wait<0>();
    hold(o);
    if (releases) barrier_arrive(shared.kv_empty(v_slot));
    if (ends) {
      if (kCausal || tile.parts == 1 || merge(o, ended, peak, shared, problem, tile, group))
        finish(o, ended[0], ended[1], shared.q(q_slot), map_o, tile, group);
      storing = true;
      tile = now;
      q_slot = q.slot;
      q.advance();
    }
    fresh = ends;
    step = now_step;
    return true;
  };
  while (turn(pa, pb)) {
    if (!turn(pb, pa)) {
#pragma unroll
      for (int i = 0; i < kTileKV / 4; ++i) pa[i] = pb[i];
      break;
    }
  }

  // The last P V of this block.
  if (storing && threadIdx.x % 128 == 0) store_wait_read();
  rescale(o, rows);
  named_sync(3 + group, 256);
  if (group == 0) named_arrive(4, 256);
  wgmma_fence();
  multiply_pv(o, pa, shared.kv(kv.slot), !fresh);
  wgmma_wait<0>();
  hold(o);
  if (kCausal || tile.parts == 1 || merge(o, rows.sum, rows.peak, shared, problem, tile, group))
    finish(o, rows.sum[0], rows.sum[1], shared.q(q_slot), map_o, tile, group);
  if (threadIdx.x % 128 == 0) store_wait();
}

template <bool kCausal>
__global__ void __launch_bounds__(kThreads, 1)
    attention_kernel(const __grid_constant__ CUtensorMap map_q, const __grid_constant__ CUtensorMap map_k,
                     const __grid_constant__ CUtensorMap map_v, const __grid_constant__ CUtensorMap map_o,
                     const Problem problem) {
  extern __shared__ uint8_t memory[];
  const Shared shared{(shared_address(memory) + kAlignment - 1) / kAlignment * kAlignment};
  if (threadIdx.x == 0) {
    for (int slot = 0; slot < 2; ++slot) {
      barrier_init(shared.q_full(slot), 1);
      barrier_init(shared.q_empty(slot), kConsumers);
    }
    for (int slot = 0; slot < kBuffers; ++slot) {
      barrier_init(shared.kv_full(slot), 1);
      barrier_init(shared.kv_empty(slot), 4 * kConsumers);
    }
    barrier_init_fence();
  }
  __syncthreads();
  const int warpgroup = __shfl_sync(0xffffffff, threadIdx.x / 128, 0);
  if (warpgroup == 0) {
    give_registers<kProducerRegisters>();
    if (threadIdx.x == 0) produce<kCausal>(shared, &map_q, &map_k, &map_v, problem);
  } else {
    take_registers<kConsumerRegisters>();
    consume<kCausal>(shared, &map_o, problem, warpgroup - 1);
  }
}

// ---- host -----------------------------------------------------------------------------------------------------

const char* refusal = nullptr;

// Memory of this launch for the parts of split tiles, from a pool of our own that keeps it between calls.
bool reserve(float4** workspace, size_t bytes, int device, cudaStream_t stream) {
  constexpr int kDevices = 64;
  static std::mutex lock;
  static cudaMemPool_t pools[kDevices] = {};
  if (device >= kDevices) return false;
  const std::lock_guard<std::mutex> guard(lock);
  if (pools[device] == nullptr) {
    cudaMemPoolProps properties{};
    properties.allocType = cudaMemAllocationTypePinned;
    properties.location.type = cudaMemLocationTypeDevice;
    properties.location.id = device;
    cudaMemPool_t pool = nullptr;
    if (cudaMemPoolCreate(&pool, &properties) != cudaSuccess) return false;
    uint64_t keep = UINT64_MAX;
    cudaMemPoolSetAttribute(pool, cudaMemPoolAttrReleaseThreshold, &keep);
    pools[device] = pool;
  }
  return cudaMallocFromPoolAsync(reinterpret_cast<void**>(workspace), bytes, pools[device], stream) == cudaSuccess;
}

__device__ unsigned counters[kCounters][kCounterWords];  // zero at load; every launch leaves its own zero
std::atomic<unsigned> launches{0};                       // of both kinds: neither may meet the other's counters

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
  const long long tiles = (static_cast<long long>(sequence) + kTileQ - 1) / kTileQ * heads_q * batch;
  if (tiles > (1 << 30) || sequence > (1 << 30)) return "the problem is too large for 32-bit tile numbers";
  return nullptr;
}

template <bool kCausal>
const char* launch(const void* q, const void* k, const void* v, void* o, Problem problem, cudaStream_t stream) {
  CUtensorMap map_q, map_k, map_v, map_o;
  const int batch = problem.batch, sequence = problem.sequence;
  if (!make_map(&map_q, q, batch, sequence, problem.heads_q, kTileQ, 2) ||
      !make_map(&map_k, k, batch, sequence, problem.heads_kv, kTileKV, 2) ||
      !make_map(&map_v, v, batch, sequence, problem.heads_kv, kTileKV, 2) ||
      !make_map(&map_o, o, batch, sequence, problem.heads_q, 64, 1))
    return "the driver refused a tensor map for this shape";
  int device = 0, multiprocessors = 0;
  cudaGetDevice(&device);
  cudaDeviceGetAttribute(&multiprocessors, cudaDevAttrMultiProcessorCount, device);
  unsigned* all = nullptr;
  if (cudaGetSymbolAddress(reinterpret_cast<void**>(&all), counters) != cudaSuccess)
    return cudaGetErrorString(cudaGetLastError());
  problem.counter = all + kCounterWords * (launches.fetch_add(1) % kCounters);
  // Full attention: the tiles that would fill only part of a last wave are split by keys over the idle blocks.
  problem.whole = problem.items;
  problem.parts = 1;
  if (!kCausal) {
    const int rest = problem.items % multiprocessors;
    const int key_tiles = (sequence + kTileKV - 1) / kTileKV;
    int parts = rest > 0 ? multiprocessors / rest : 1;
    parts = parts < kMaxParts ? parts : kMaxParts;
    parts = parts < key_tiles / 2 ? parts : key_tiles / 2;
    const size_t bytes = static_cast<size_t>(rest) * parts * 2 * 17 * 128 * sizeof(float4);
    if (parts > 1 && rest <= kMaxSplit && reserve(&problem.workspace, bytes, device, stream)) {
      problem.parts = parts;
      problem.whole = problem.items - rest;
      problem.items = problem.whole + rest * parts;
    }
    cudaGetLastError();  // without memory for the parts, no tile is split
  }
  cudaFuncSetAttribute(attention_kernel<kCausal>, cudaFuncAttributeMaxDynamicSharedMemorySize, kSharedBytes);
  const int blocks = problem.items < multiprocessors ? problem.items : multiprocessors;
  attention_kernel<kCausal><<<blocks, kThreads, kSharedBytes, stream>>>(map_q, map_k, map_v, map_o, problem);
  const cudaError_t error = cudaGetLastError();
  if (problem.workspace != nullptr) cudaFreeAsync(problem.workspace, stream);
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
  Problem problem{};
  problem.batch = batch;
  problem.heads_q = heads_q;
  problem.heads_kv = heads_kv;
  problem.sequence = seqlen;
  problem.row_tiles = (seqlen + kTileQ - 1) / kTileQ;
  problem.items = problem.row_tiles * heads_q * batch;
  problem.scale_log2 = scale * 1.4426950408889634f;
  // Query heads that share a KV head are neighbours, so the section grows with their number.
  const long long head_bytes = 4LL * seqlen * kHeadDim;
  const long long kv_heads = kSectionBytes / head_bytes < 1 ? 1 : kSectionBytes / head_bytes;
  const long long section = kv_heads * (heads_q / heads_kv), heads = static_cast<long long>(batch) * heads_q;
  problem.section = static_cast<int>(section < heads ? section : heads);
  const auto queue = static_cast<cudaStream_t>(stream);
  refusal = causal ? launch<true>(q, k, v, o, problem, queue) : launch<false>(q, k, v, o, problem, queue);
}
