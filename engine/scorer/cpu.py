"""The CPU device: candidates are C++ libraries, judged over shared memory."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

from engine.scorer import machine
from engine.scorer import toolchain as tools
from engine.scorer.build import Built
from engine.scorer.children import Children
from engine.scorer.hands import Hands
from engine.scorer.problem import Problem
from engine.scorer.timing import EVALUATE, ROUND
from engine.scorer.worker import Runs, Worker

with warnings.catch_warnings():  # torch warns that numpy is absent; nothing here uses it
    warnings.simplefilter("ignore")
    from engine.scorer.judge import Judge

if TYPE_CHECKING:
    from engine.scorer.evaluate import Bench, Emit, Options


class CpuDevice:
    """This machine's processor."""

    evaluating, pairing = EVALUATE, ROUND

    def __init__(self, problem: Problem, threads: int) -> None:
        self.toolchain = tools.find()
        self.hands = Hands(tools.hands(self.toolchain))
        self.judge = Judge(problem, self.hands, threads)
        self._runner = tools.runner(self.toolchain)

    def label(self) -> str:
        """One line that names the device."""
        return machine.device(self.judge.threads)

    def start(self, built: Built, children: Children, threads: int | None = None) -> Worker:
        """A fresh worker process for a built candidate."""
        count = threads or self.judge.threads
        return Worker(self._runner, built.library, self.judge.arena, self.hands, children, threads=count)

    def baseline(self, name: str) -> Runs:
        """A baseline in the judge's process."""
        from engine.scorer.baselines import LocalWorker

        return LocalWorker(self.judge, name)

    def profile(self, bench: Bench, source: Path, options: Options, emit: Emit) -> dict[str, Any]:
        """What the compiler did, and how far each configuration is from the peak."""
        from engine.scorer.profile import profile

        return profile(bench, self, source, options, emit)
