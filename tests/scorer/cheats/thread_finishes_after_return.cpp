// Catalogue 2: a thread goes on computing after the call returned.
// expect: integrity early-sample | check finite
#include "base.h"

#include <thread>
FORWARD(std::thread([=] { honest(q, k, v, o, s); }).detach();)
