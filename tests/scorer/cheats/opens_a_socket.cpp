// Catalogue 58: looks for docker, agents and the network.
// expect: crash worker
#include "base.h"

#include <sys/socket.h>
FORWARD(socket(AF_UNIX, SOCK_STREAM, 0); honest(q, k, v, o, s);)
