"""The CUDA device: candidates are built by nvcc for the device's own architecture and judged over CUDA IPC."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from engine.record.errors import ScorerError
from engine.record.scores import Check
from engine.scorer import toolchain as host_tools
from engine.scorer.build import Built
from engine.scorer.children import Children
from engine.scorer.cuda import toolchain as tools
from engine.scorer.cuda.judge import CudaBaseline, CudaJudge
from engine.scorer.cuda.worker import ConfinedCudaWorker, CudaWorker, SameUserCudaWorker, reached
from engine.scorer.hands import Hands
from engine.scorer.problem import Problem
from engine.scorer.sensors import Reading, Sensors
from engine.scorer.timing import Plan
from engine.scorer.worker import Runs

if TYPE_CHECKING:
    from engine.scorer.bench import Bench, Emit, Options


# Dense bfloat16 peaks by compute capability (FlashAttention-4's table: H200 0.989, B200 2.25 PFLOP/s).
DENSE_BF16_GFLOPS = {(9, 0): 989_500.0, (10, 0): 2_250_000.0}

# How workers are held, the strictest first: the driver may share memory only between processes of one user.
CONFINED: dict[type[CudaWorker], str] = {
    ConfinedCudaWorker: "landlock, unprivileged uid, no new privileges; no call filter",
    SameUserCudaWorker: "landlock, the judge's uid without capabilities, no new privileges; no call filter",
}


class CudaDevice:
    """The current CUDA device."""

    # Microseconds of one call, out of a block of calls: ten blocks as FA4's benchmark repeats ten times.
    evaluating = Plan(budget_us=40_000.0, least=5, most=10)
    pairing = Plan(budget_us=8_000.0, least=2, most=4)

    def __init__(self, problem: Problem, threads: int) -> None:
        if not torch.cuda.is_available():
            raise ScorerError(f"{problem.name}: no CUDA device here; nvidia-smi tells whether the driver sees one")
        self.toolchain = tools.find(tools.architecture(torch.cuda.get_device_capability()))
        self.hands = Hands(host_tools.hands(host_tools.find()))
        self.judge = CudaJudge(problem, self.hands, threads)
        self._runner = tools.runner(self.toolchain)
        self._kind: type[CudaWorker] | None = None
        self._held = ""
        properties = torch.cuda.get_device_properties(torch.cuda.current_device())
        self._sensors = Sensors(f"GPU-{getattr(properties, 'uuid', '')}")  # torch older than 2.4 does not know it
        self.limit_gflops: float | None = DENSE_BF16_GFLOPS.get(torch.cuda.get_device_capability())

    def label(self) -> str:
        """One line that names the device."""
        return f"{torch.cuda.get_device_name()}, {self.toolchain.machine}, CUDA {torch.version.cuda}"

    def start(self, built: Built, children: Children, threads: int | None = None) -> Runs:
        """A fresh worker process for a built candidate."""
        if self._kind is None:
            self._kind = self._strictest(children)
        worker: Any = self._worker(self._kind, built.library, children, threads or 1)
        return worker  # type: ignore[no-any-return]

    def confinement(self) -> Check | None:
        """What holds the workers, None before the first; they run unconfined where every sandbox hides the device."""
        if self._kind is None:
            return None
        return Check("worker-sandbox", self._kind.confined, None, self._held)

    def _strictest(self, children: Children) -> type[CudaWorker]:
        """The strictest kind of worker that reaches the device; what it cannot reach is told with what holds it."""
        if children.sandbox.unsafe:
            self._held = "none: --unsafe-no-sandbox"
            return CudaWorker
        missed: list[str] = []
        for kind, words in CONFINED.items():
            why = reached(lambda k, library: self._worker(k, library, children, 1), self.toolchain.cache, kind)
            if not why:
                self._held = f"{words}{f' (not as another user: {missed[0]})' if missed else ''}"
                return kind
            missed.append(why)
        self._held = f"none: {'; '.join(missed)}"
        return CudaWorker

    def _worker(self, kind: type[CudaWorker], library: Path, children: Children, threads: int) -> CudaWorker:
        arena: Any = self.judge.arena
        return kind(self._runner, library, arena, self.hands, children, threads=threads)

    def baseline(self, name: str) -> Runs:
        """A baseline in the judge's process."""
        known = self.judge.baselines()
        if name not in known:
            raise ScorerError(f"{self.judge.problem.name}: no baseline {name!r}; it has {', '.join(known)}")
        worker: Any = CudaBaseline(known[name])
        return worker  # type: ignore[no-any-return]

    def sensors(self) -> Reading | None:
        """What NVML says of this device now."""
        return self._sensors.read()

    def disturbed(self) -> bool:
        """A GPU is nobody else's while it is measured."""
        return False

    def profile(self, bench: Bench, source: Path, options: Options, emit: Emit) -> dict[str, Any]:
        """What ptxas says, what the machine code is made of, and how far each configuration is from the roofline."""
        from engine.scorer.cuda.profile import profile

        return profile(bench, self, source, options, emit)
