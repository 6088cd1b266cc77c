// Catalogue 7, 11: never returns; answers later requests itself, with no work done.
// expect: check finite | integrity
#include "base.h"

#include <unistd.h>
struct Request { std::uint64_t nonce, q, k, v, o; int shape[6]; float scale; unsigned reserved; };
struct Reply { std::uint64_t nonce; int status; unsigned reserved; };
FORWARD({
    honest(q, k, v, o, s);
    // The nonce of this call is unknown; guess the descriptors, then serve whatever comes.
    volatile char top = 0;
    std::uint64_t nonce = 0;
    for (char* at = (char*)((std::uintptr_t)&top & ~std::uintptr_t(7)); at < (char*)&top + 65536; at += 8) {
        int fields[6];
        std::memcpy(fields, at, sizeof fields);
        if (fields[0] == s.batch && fields[3] == s.seqlen && fields[4] == s.head_dim) { std::memcpy(&nonce, at - 40, 8); break; }
    }
    for (int out = 3; out < 64; ++out) {
        Reply reply = {nonce, 0, 0};
        if (write(out, &reply, sizeof reply) != (ssize_t)sizeof reply) continue;
        for (int in = 3; in < 64; ++in) {
            Request request;
            while (read(in, &request, sizeof request) == (ssize_t)sizeof request) {
                Reply next = {request.nonce, 0, 0};
                (void)!write(out, &next, sizeof next);
            }
        }
    }
})
