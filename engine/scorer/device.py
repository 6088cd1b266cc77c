"""What a device must offer so that evaluation, paired rounds and profiles are written once for all of them.

One rule: nothing above this line knows what kind of device it judges on.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from engine.record.errors import ScorerError
from engine.record.scores import Check
from engine.scorer.build import Built
from engine.scorer.children import Children
from engine.scorer.problem import Configuration, Problem
from engine.scorer.sensors import Reading
from engine.scorer.timing import Plan
from engine.scorer.toolchain import Toolchain
from engine.scorer.worker import Runs

if TYPE_CHECKING:
    from engine.scorer.bench import Bench, Emit, Options
    from engine.scorer.judge import Call, Full
    from engine.scorer.reference import Baseline


class Judges(Protocol):
    """Draws the inputs, owns the clock, checks the outputs."""

    problem: Problem
    threads: int

    def baselines(self) -> dict[str, Baseline]:
        """The problem's own baselines by name."""
        ...

    def call(self, worker: Runs, shape: Configuration, *, timeout_s: float, full: Full = False) -> Call:
        """One checked call. Raises CandidateFailed."""
        ...

    def close(self) -> None:
        """Release its memory."""
        ...


class Device(Protocol):
    """One kind of device, opened for one problem.

    `evaluating` and `pairing` say how many calls are timed; nothing on it computes faster than `limit_gflops`.
    """

    toolchain: Toolchain
    evaluating: Plan
    pairing: Plan
    limit_gflops: float | None

    @property
    def judge(self) -> Judges:
        """The judge on this device."""
        ...

    def label(self) -> str:
        """One line that names the device, for a Score."""
        ...

    def start(self, built: Built, children: Children, threads: int | None = None) -> Runs:
        """A fresh worker process for a built candidate. Raises CandidateFailed when it cannot be loaded."""
        ...

    def confinement(self) -> Check | None:
        """What holds the workers, when it is not the tier that the scorer chose for everything else."""
        ...

    def baseline(self, name: str) -> Runs:
        """A baseline that answers calls as a worker would. Raises ScorerError for an unknown name."""
        ...

    def sensors(self) -> Reading | None:
        """Clock, power and temperature now, where the device tells them."""
        ...

    def disturbed(self) -> bool:
        """Whether somebody else works on its cores now."""
        ...

    def profile(self, bench: Bench, source: Path, options: Options, emit: Emit) -> dict[str, Any]:
        """{"text", "facts", "log"} for one candidate."""
        ...


def open_device(problem: Problem, threads: int) -> Device:
    """The device that a problem asks for. Raises ScorerError, one line, when this machine has none."""
    if problem.device == "cpu":
        from engine.scorer.cpu import CpuDevice

        return CpuDevice(problem, threads)
    if problem.device == "cuda":
        from engine.scorer.cuda.device import CudaDevice

        return CudaDevice(problem, threads)
    raise ScorerError(f"{problem.name}: no device {problem.device!r} is served here")
