"""The CPU device: candidates are C++ libraries, judged over shared memory."""

from __future__ import annotations

import os
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from engine.scorer import machine
from engine.scorer import toolchain as tools
from engine.scorer.build import Built
from engine.scorer.children import Children
from engine.scorer.hands import Hands
from engine.scorer.judge import Judge
from engine.scorer.problem import Problem
from engine.scorer.quiet import Neighbours
from engine.scorer.timing import EVALUATE, ROUND
from engine.scorer.truth import agreed
from engine.scorer.worker import Runs, Worker

if TYPE_CHECKING:
    from engine.scorer.bench import Bench, Emit, Options

# A bound that no clock and no load can move: two fused multiply-adds a cycle (four on AArch64) at 6 GHz, full vectors;
# matrix units (AMX) serve float32 in three bfloat16 products at sixteen times the rate.
CYCLES_PER_S = 6e9
AMX_GAIN = 16.0 / 3.0


class CpuDevice:
    """This machine's processor."""

    evaluating, pairing = EVALUATE, ROUND

    def __init__(self, problem: Problem, threads: int) -> None:
        self.toolchain = tools.find()
        self.hands = Hands(tools.hands(self.toolchain))
        self.judge = Judge(problem, self.hands, threads, agreed(problem, self.toolchain))
        self.limit_gflops: float | None = _limit(threads)
        self._runner = tools.runner(self.toolchain)
        pace = self.toolchain.cache / f"pace-{self.toolchain.key('pace')}"
        self._neighbours = Neighbours(self.hands, threads, pace)

    def label(self) -> str:
        """One line that names the device."""
        return machine.device(self.judge.threads)

    def start(self, built: Built, children: Children, threads: int | None = None) -> Worker:
        """A fresh worker process for a built candidate."""
        count = threads or self.judge.threads
        return Worker(self._runner, built.library, self.judge.arena, self.hands, children, threads=count)

    def confinement(self) -> None:
        """Nothing to add: workers run in the tier that the report names."""

    @cached_property
    def memory_gb_s(self) -> float:
        """What a copy through memory reaches, measured once."""
        return self.hands.copy_gb_s(self.judge.threads)

    def baseline(self, name: str) -> Runs:
        """A baseline in the judge's process."""
        from engine.scorer.baselines import LocalWorker

        return LocalWorker(self.judge, name)

    def sensors(self) -> None:
        """Nothing to tell: a shared processor's clock is not this judge's."""

    def disturbed(self) -> bool:
        """Neighbours on the same cores are heard by what they slow down."""
        return self._neighbours.busy()

    def profile(self, bench: Bench, source: Path, options: Options, emit: Emit) -> dict[str, Any]:
        """What the compiler did, and how far each configuration is from the peak."""
        from engine.scorer.profile import profile

        return profile(bench, self, source, options, emit)


def _limit(threads: int) -> float:
    """float32 GFLOPS that no kernel on this processor can pass."""
    lanes = 16 if machine.has("avx512f") else 8 if machine.has("avx2") else 4
    units = 4 if os.uname().machine == "aarch64" else 2
    gain = AMX_GAIN if machine.has("amx_bf16") else 1.0
    return threads * CYCLES_PER_S * lanes * units * 2 * gain / 1e9
