"""A CUDA candidate's worker: the CPU worker's protocol, with refusals and device faults told apart.

One rule: a faulted or killed worker takes its context with it; the judge's own context is never touched.
"""

from __future__ import annotations

from pathlib import Path

from engine.scorer.confined import Confined
from engine.scorer.cuda.arena import Block
from engine.scorer.failure import CandidateFailed, fail
from engine.scorer.hands import GONE
from engine.scorer.text import one_line
from engine.scorer.worker import Worker

REFUSED, FAULT = 42, 43


class CudaWorker(Worker):
    """A live candidate on the device."""

    def run(self, placement: Block, timeout_s: float) -> float:  # type: ignore[override]
        """One timed block; returns microseconds per call."""
        return super().run(placement, timeout_s) / placement.count  # type: ignore[arg-type]

    def _job(self, runner: Path, library: Path, threads: int, fds: tuple[int, ...], info_fd: int) -> Confined:
        """The command line of the worker. The device's own files are not in the CPU worker's sandbox."""
        argv = [str(runner), str(library), *(f"{fd:03d}" for fd in fds)]
        return Confined(argv, {"PATH": "/usr/bin:/bin", "LC_ALL": "C"}, fds)

    def _failure(self, outcome: int, configuration: str, timeout_s: float) -> CandidateFailed:
        if outcome == GONE:
            code, said = self._children.end(self._process), self.said()
            if code == REFUSED:
                return fail("check", f"the candidate refused this shape: {one_line(said)}", configuration, log=said)
            if code == FAULT:
                return fail("crash", f"a CUDA error: {one_line(said)}", configuration, log=said)
        return super()._failure(outcome, configuration, timeout_s)
