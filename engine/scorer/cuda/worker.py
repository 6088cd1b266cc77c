"""A CUDA candidate's worker: the CPU worker's protocol, with refusals and device faults told apart.

One rule: a faulted or killed worker takes its context with it; the judge's own context is never touched.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

from engine.record.errors import AvoError
from engine.scorer.confined import Confined
from engine.scorer.cuda.arena import Block
from engine.scorer.cuda.driver import same_device
from engine.scorer.failure import CandidateFailed, fail
from engine.scorer.hands import GONE
from engine.scorer.sandbox import device_job
from engine.scorer.text import one_line
from engine.scorer.worker import Worker

REFUSED, FAULT = 42, 43
NO_LIBRARY = "no-such-candidate.so"


class CudaWorker(Worker):
    """A live candidate on the device."""

    def run(self, placement: Block, timeout_s: float) -> float:  # type: ignore[override]
        """One timed block; returns microseconds per call."""
        return super().run(placement, timeout_s) / placement.count  # type: ignore[arg-type]

    confined = False
    """Whether the command line is wrapped: only once the device was reached from inside (`reached`)."""
    own_uid = False

    def _job(self, runner: Path, library: Path, threads: int, fds: tuple[int, ...], info_fd: int) -> Confined:
        """The command line of the worker."""
        env = {"PATH": "/usr/bin:/bin", "LC_ALL": "C", "CUDA_CACHE_DISABLE": "1", **same_device(os.environ)}
        arguments = [f"{fd:03d}" for fd in fds]
        if self.confined:
            box = self._children.sandbox
            return device_job(box, runner, library, arguments, env=env, fds=fds, own_uid=self.own_uid)
        return Confined([str(runner), str(library), *arguments], env, fds)

    def _failure(self, outcome: int, configuration: str, timeout_s: float) -> CandidateFailed:
        if outcome == GONE:
            code, said = self._children.end(self._process), self.said()
            if code == REFUSED:
                return fail("check", f"the candidate refused this shape: {one_line(said)}", configuration, log=said)
            if code == FAULT:
                return fail("crash", f"a CUDA error: {one_line(said)}", configuration, log=said)
        return super()._failure(outcome, configuration, timeout_s)


class ConfinedCudaWorker(CudaWorker):
    """The same, in its sandbox."""

    confined = True


class SameUserCudaWorker(ConfinedCudaWorker):
    """The same, where the driver shares memory only within one user: the judge's uid, without its capabilities."""

    own_uid = True


def reached(
    start: Callable[[type[CudaWorker], Path], CudaWorker], cache: Path, kind: type[CudaWorker] = ConfinedCudaWorker
) -> str:
    """Why the device cannot be reached from inside this kind's sandbox, or "" when it can.

    The runner maps the judge's device memory before it loads a candidate: told to load one that is not there, it fails
    with that, and with nothing earlier, exactly when it could.
    """
    try:
        start(kind, cache / NO_LIBRARY).close()
    except CandidateFailed as failed:
        return "" if NO_LIBRARY in failed.failure.reason else failed.failure.reason
    except AvoError as error:
        return str(error)
    return "the runner loaded a library that is not there"
