"""A worker that is listened to: each call may wait for a quiet moment, and tells whether it had one."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from engine.scorer.arena import Placement
    from engine.scorer.worker import Runs


class Listener:
    """Passes calls on to a worker. `patience_s`: how long the next one may wait; `quiet`: how the last one was.

    `await_quiet(seconds)` waits at most so long until nobody else works on the device's cores, and says whether that
    is so. Everything for the call is laid out before, and the worker is frozen: nothing runs between quiet and "go".
    """

    def __init__(self, worker: Runs, await_quiet: Callable[[float], bool]) -> None:
        self._worker, self._await_quiet = worker, await_quiet
        self.patience_s = 0.0
        self.quiet = False

    def run(self, placement: Placement, timeout_s: float) -> float:
        """Answer one call; microseconds."""
        before = self._await_quiet(self.patience_s)
        elapsed_us = self._worker.run(placement, timeout_s)
        self.quiet = before and self._await_quiet(0.0)
        return elapsed_us

    def close(self) -> None:
        """End the worker."""
        self._worker.close()
