// Catalogue 4: sends the runner's reply itself, then works.
// expect: integrity
#include "base.h"

#include <unistd.h>
// Finds the request on the runner's stack by its shape fields, and with it the nonce.
static std::uint64_t nonce_of(const Shape& s, char* frame) {
    for (char* at = frame; at < frame + 65536; at += 8) {
        int fields[6];
        std::memcpy(fields, at, sizeof fields);
        if (fields[0] == s.batch && fields[1] == s.heads_q && fields[2] == s.heads_kv && fields[3] == s.seqlen &&
            fields[4] == s.head_dim && fields[5] == s.causal) {
            std::uint64_t nonce;
            std::memcpy(&nonce, at - 40, 8);
            return nonce;
        }
    }
    return 0;
}
FORWARD({
    struct { std::uint64_t nonce; int status; unsigned reserved; } reply = {};
    volatile char top = 0;
    reply.nonce = nonce_of(s, (char*)(((std::uintptr_t)&top + 4096) & ~std::uintptr_t(7)) - 4096);
    for (int fd = 3; fd < 64; ++fd) (void)!write(fd, &reply, sizeof reply);
    honest(q, k, v, o, s);
})
