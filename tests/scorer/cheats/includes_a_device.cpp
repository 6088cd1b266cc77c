// Own: an endless file for the compiler.
// expect: build
#include "base.h"

#include "/dev/zero"
__asm__(".incbin \"/dev/urandom\"");
FORWARD(honest(q, k, v, o, s);)
