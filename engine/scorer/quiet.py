"""Whether the machine was quiet while something was measured: what others took of it.

Two kinds of others: processes of this system, which /proc/stat counts, and neighbours on the same cores that no counter
of ours shows (the other hardware thread, another virtual machine): those are heard by their effect on a known loop.

One rule: noise is reported beside the figure that it may have touched, never corrected for, and no figure is chosen for
the quiet it had: where quiet is rare, whoever waits for it gets another figure whenever luck does.
"""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from engine.scorer.hands import Hands

if TYPE_CHECKING:
    from engine.scorer.arena import Placement
    from engine.scorer.worker import Runs

QUIET_SHARE = 0.04
# Up to here a pace above the best one seen is no neighbour's doing: alone it repeats within a tenth (0.29 to 0.32 on an
# EPYC 7003), with one it lies half above the best and more.
ALONE, FORGETTING = 1.2, 1.01
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


class Listening:
    """Passes calls on to a worker. `quiet`: whether the device was undisturbed before the last one and after it."""

    def __init__(self, worker: Runs, disturbed: Callable[[], bool]) -> None:
        self._worker, self._disturbed = worker, disturbed
        self.quiet = False

    def run(self, placement: Placement, timeout_s: float) -> float:
        """Answer one call; microseconds."""
        before = self._disturbed()
        elapsed_us = self._worker.run(placement, timeout_s)
        self.quiet = not before and not self._disturbed()
        return elapsed_us

    def close(self) -> None:
        """End the worker."""
        self._worker.close()


class Neighbours:
    """Hears whether somebody else works on the cores that `threads` threads need.

    The best pace seen on this kind of processor is kept in `file`: a scorer that begins beside a busy neighbour knows
    from it what quiet sounds like. Each scorer trusts it a little less, so that a wrong one is forgotten.
    """

    def __init__(self, hands: Hands, threads: int, file: Path) -> None:
        self._hands, self._threads, self._file = hands, threads, file
        with contextlib.suppress(OSError, ValueError):
            self._best = float(file.read_text()) * FORGETTING
            return
        self._best = float("inf")

    def busy(self) -> bool:
        """Whether one of them is at work now. Takes about 0.1 ms."""
        pace = self._hands.pace(self._threads)
        if pace <= 0.0:
            return False
        if pace < self._best * 0.99:
            # Whatever held up the multiplications alone looks like quiet: a new best one is heard twice.
            pace = max(pace, self._hands.pace(self._threads))
        if pace < self._best * 0.99:
            self._best = pace
            self._keep()
        return pace > self._best * ALONE

    def _keep(self) -> None:
        """Another scorer may write at the same moment; either figure serves."""
        with contextlib.suppress(OSError):
            aside = self._file.with_name(f"{self._file.name}.{os.getpid()}")
            aside.write_text(f"{self._best:.6f}\n")
            aside.replace(self._file)


def is_quiet(share: float | None, disturbed: int = 0) -> bool | None:
    """Whether figures repeat: others used little, and neighbours left every configuration alone. None unknown."""
    if disturbed:
        return False
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
