// One candidate alone, for a profiler: it is called twice on inputs of this program's own making, and nothing is checked
// or timed. The first call loads its code and is not meant to be counted.
//
//   alone CANDIDATE.so BATCH HEADS_Q HEADS_KV SEQLEN HEAD_DIM CAUSAL
//
// Ends with 42 when the candidate refuses the shape, 43 after a CUDA error; the reason is on standard error.
#include <cuda_bf16.h>
#include <cuda_profiler_api.h>
#include <cuda_runtime.h>
#include <dlfcn.h>
#include <math.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

using Forward = void (*)(const void*, const void*, const void*, void*, int, int, int, int, int, int, float, void*);
using Status = const char* (*)();

enum { NO_LOAD = 2, REFUSED = 42, FAULT = 43 };

static void need(const char* where, cudaError_t error) {
    if (error == cudaSuccess) return;
    fprintf(stderr, "%s: %s\n", where, cudaGetErrorString(error));
    exit(FAULT);
}

// Sums of uniform numbers: close enough to normal that the multipliers switch as they do in use.
__global__ void fill(__nv_bfloat16* to, size_t count, uint64_t seed) {
    for (size_t i = blockIdx.x * size_t(blockDim.x) + threadIdx.x; i < count; i += size_t(gridDim.x) * blockDim.x) {
        uint64_t x = (i + 1) * 0x9e3779b97f4a7c15ull + seed;
        float sum = 0.0f;
        for (int k = 0; k < 4; ++k) {
            x ^= x >> 30;
            x *= 0xbf58476d1ce4e5b9ull;
            x ^= x >> 27;
            sum += static_cast<float>(x >> 40) * 0x1p-24f - 0.5f;
        }
        to[i] = __float2bfloat16(sum * 1.732f);
    }
}

static void* made(size_t count, uint64_t seed) {
    __nv_bfloat16* memory = nullptr;
    need("cudaMalloc", cudaMalloc(&memory, count * sizeof *memory));
    fill<<<1024, 256>>>(memory, count, seed);
    need("inputs", cudaDeviceSynchronize());
    return memory;
}

int main(int argc, char** argv) {
    if (argc != 8) return 64;
    int batch = atoi(argv[2]), heads_q = atoi(argv[3]), heads_kv = atoi(argv[4]), seqlen = atoi(argv[5]);
    int head_dim = atoi(argv[6]), causal = atoi(argv[7]);
    size_t row = size_t(batch) * seqlen * head_dim;
    void *q = made(row * heads_q, 1), *k = made(row * heads_kv, 2), *v = made(row * heads_kv, 3);
    void* o = made(row * heads_q, 4);
    void* library = dlopen(argv[1], RTLD_NOW | RTLD_LOCAL);
    Forward forward = library ? reinterpret_cast<Forward>(dlsym(library, "attention_forward")) : nullptr;
    if (forward == nullptr) {
        fprintf(stderr, "%s\n", dlerror());
        return NO_LOAD;
    }
    Status status = reinterpret_cast<Status>(dlsym(library, "attention_status"));
    for (int call = 0; call < 2; ++call) {
        if (call == 1) need("the profiler", cudaProfilerStart());
        forward(q, k, v, o, batch, heads_q, heads_kv, seqlen, head_dim, causal, 1.0f / sqrtf(head_dim), nullptr);
        if (const char* refusal = status ? status() : nullptr) {
            fprintf(stderr, "%s\n", refusal);
            return REFUSED;
        }
        need("the call", cudaDeviceSynchronize());
    }
    need("the profiler", cudaProfilerStop());
    return 0;
}
