"""Whether the machine was quiet while something was measured: how much of it others used. Linux, /proc/stat.

One rule: noise is reported beside the figure that it may have touched, never corrected for.
"""

from __future__ import annotations

import os
import time
from pathlib import Path

QUIET_SHARE = 0.04
_TICKS = os.sysconf("SC_CLK_TCK")


class Watch:
    """Begins when it is made. Ours is this process and its ended children."""

    def __init__(self) -> None:
        self._began, self._busy, self._own = time.monotonic(), _busy_s(), _own_s()

    def others_share(self) -> float | None:
        """Part of the machine's processor time that others took since (0 to 1); None when it cannot be told."""
        busy, wall = _busy_s(), time.monotonic() - self._began
        if busy is None or self._busy is None or wall < 0.2:
            return None
        others = busy - self._busy - (_own_s() - self._own)
        return min(1.0, max(0.0, others / (wall * (os.cpu_count() or 1))))


def is_quiet(share: float | None) -> bool | None:
    """Whether so little was used by others that figures repeat; None when unknown."""
    return None if share is None else share <= QUIET_SHARE


def _busy_s() -> float | None:
    """Seconds that all processors spent on anything, stolen time included."""
    try:
        fields = [int(x) for x in Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:9]]
    except (OSError, ValueError):
        return None
    user, nice, system, _idle, _iowait, irq, softirq, steal = fields
    return (user + nice + system + irq + softirq + steal) / _TICKS


def _own_s() -> float:
    t = os.times()
    return t.user + t.system + t.children_user + t.children_system
