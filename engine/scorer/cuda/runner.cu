// The CUDA worker: loads one candidate and launches it when told to. It owns nothing: not the clock, not the inputs,
// not the verdict. The judge's buffers are mapped through CUDA IPC; everything in this process may be forged.
//
//   runner CANDIDATE.so REQUESTS REPLIES HANDLES UNUSED    two pipes, a sealed file of Handles, a descriptor to close
//
// Ends with 42 when the candidate refuses a shape, 43 after a CUDA error; the reason is on standard error.
#include <cuda_runtime.h>
#include <dlfcn.h>
#include <errno.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <unistd.h>

struct Request {  // q, k, v, o: byte offsets of the first call; call i of `count` lies i strides further
    uint64_t nonce, q, k, v, o;
    int32_t batch, heads_q, heads_kv, seqlen, head_dim, causal;
    float scale;
    uint32_t count;
};
struct Reply {
    uint64_t nonce;
    int32_t status;
    uint32_t reserved;
};
struct Handles {
    cudaIpcMemHandle_t in, out;
    uint64_t in_stride, out_stride;
};
using Forward = void (*)(const void*, const void*, const void*, void*, int, int, int, int, int, int, float, void*);
using Status = const char* (*)();

enum { READY = 0, NO_ARENA = 1, NO_LOAD = 2, NO_SYMBOL = 3, REFUSED = 42, FAULT = 43 };

static int replies;

static int reply(uint64_t nonce, int32_t status) {
    Reply r = {nonce, status, 0};
    return write(replies, &r, sizeof r) == (ssize_t)sizeof r ? 0 : -1;
}

static void fault(const char* where, cudaError_t error) {
    fprintf(stderr, "%s: %s\n", where, cudaGetErrorString(error));
    _exit(FAULT);
}

static char* opened(const cudaIpcMemHandle_t& handle) {
    void* memory = nullptr;
    cudaError_t error = cudaIpcOpenMemHandle(&memory, handle, cudaIpcMemLazyEnablePeerAccess);
    if (error != cudaSuccess) fprintf(stderr, "cudaIpcOpenMemHandle: %s\n", cudaGetErrorString(error));
    return error == cudaSuccess ? static_cast<char*>(memory) : nullptr;
}

int main(int argc, char** argv) {
    if (argc != 6) return 64;
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    int requests = atoi(argv[2]), shared = atoi(argv[4]);
    replies = atoi(argv[3]);
    close(atoi(argv[5]));

    Handles handles;
    if (pread(shared, &handles, sizeof handles, 0) != (ssize_t)sizeof handles) return reply(0, NO_ARENA), 1;
    close(shared);
    cudaSetDeviceFlags(cudaDeviceScheduleSpin);  // the wait for the device must not add a wake-up to the time
    char *in = opened(handles.in), *out = opened(handles.out);
    if (!in || !out) return reply(0, NO_ARENA), 1;

    void* candidate = dlopen(argv[1], RTLD_NOW | RTLD_LOCAL);
    if (!candidate) {
        fprintf(stderr, "%s\n", dlerror());
        return reply(0, NO_LOAD), 1;
    }
    auto forward = reinterpret_cast<Forward>(dlsym(candidate, "attention_forward"));
    auto status = reinterpret_cast<Status>(dlsym(candidate, "attention_status"));
    if (!forward) return reply(0, NO_SYMBOL), 1;
    cudaStream_t stream;
    if (cudaError_t error = cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking)) fault("stream", error);
    if (reply(0, READY) != 0) return 1;

    for (Request r;;) {
        ssize_t n = read(requests, &r, sizeof r);
        if (n < 0 && errno == EINTR) continue;
        if (n != (ssize_t)sizeof r) return n == 0 ? 0 : 1;
        const char* refusal = nullptr;
        for (uint32_t i = 0; i < r.count && !refusal; ++i) {
            char *inputs = in + i * handles.in_stride, *output = out + i * handles.out_stride;
            forward(inputs + r.q, inputs + r.k, inputs + r.v, output + r.o, r.batch, r.heads_q, r.heads_kv, r.seqlen,
                    r.head_dim, r.causal, r.scale, stream);
            if (status) refusal = status();
        }
        // The whole device, not the stream: work on a side stream is part of the call.
        cudaError_t error = cudaDeviceSynchronize();
        if (error == cudaSuccess) error = cudaGetLastError();
        if (refusal) {
            fprintf(stderr, "%.200s\n", refusal);
            _exit(REFUSED);
        }
        if (error != cudaSuccess) fault("after the call", error);
        if (reply(r.nonce, 0) != 0) return 1;
    }
}
