"""Private: an engine's memory and environment hold the API key; they are nobody else's, and its children get none."""

from __future__ import annotations

import re
import sys
from collections.abc import Mapping

PR_SET_DUMPABLE = 4
SECRET = re.compile(r"^(ANTHROPIC|CLAUDE)_|(API_?KEY|TOKEN|SECRET|PASSWORD)S?(_|$)", re.IGNORECASE)


def without_secrets(environment: Mapping[str, str]) -> dict[str, str]:
    """An environment for children: nothing that a name marks as a credential."""
    return {k: v for k, v in environment.items() if not SECRET.search(k)}


def hidden(environment: Mapping[str, str]) -> dict[str, str]:
    """The credentials of an environment, each empty: for a child whose environment can only be added to."""
    return {k: "" for k in environment if SECRET.search(k)}


def keep_private() -> None:
    """No other process of this user may read this one's memory and environment (prctl(2), PR_SET_DUMPABLE = 0).

    /proc/PID/{environ,mem,maps} of such a process belong to root, and ptrace(2) is refused to all but root. Its
    children begin dumpable again, so that the scorer, compilers and debuggers of candidates work as ever.
    """
    if sys.platform == "linux":
        import ctypes

        ctypes.CDLL(None).prctl(PR_SET_DUMPABLE, 0, 0, 0, 0)
