"""Private: an engine's memory and environment hold the API key, and are nobody else's to read."""

from __future__ import annotations

import ctypes
import sys

PR_SET_DUMPABLE = 4


def keep_private() -> None:
    """No other process of this user may read this one's memory and environment (prctl(2), PR_SET_DUMPABLE = 0).

    /proc/PID/{environ,mem,maps} of such a process belong to root, and ptrace(2) is refused to all but root. Its
    children begin dumpable again, so that the scorer, compilers and debuggers of candidates work as ever.
    """
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_DUMPABLE, 0, 0, 0, 0)
