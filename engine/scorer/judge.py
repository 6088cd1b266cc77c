"""The judge: draws the inputs, owns the clock, checks the output, decides. It never loads candidate code.

One rule: a call counts only when its own output was checked. Timed calls, warm-up calls and checked calls are the
same calls, with inputs from the same law, so a candidate cannot tell them apart.
"""

from __future__ import annotations

import ctypes
import importlib.util
import random
from collections.abc import Callable
from dataclasses import dataclass
from types import ModuleType

import torch
from torch import Tensor

from engine.record.errors import ConfigError
from engine.scorer.arena import Arena, Placement
from engine.scorer.failure import fail
from engine.scorer.hands import Hands
from engine.scorer.problem import Configuration, Problem
from engine.scorer.truth import open_truth
from engine.scorer.worker import Runs

_RANDOM = random.SystemRandom()
NEEDLE_LOGIT = 24.0
HOT_STD = 28.0
SHIFT = 2.0
SAMPLED_ROWS = 10

Full = bool | Callable[[float], bool]
Baseline = Callable[[Tensor, Tensor, Tensor, bool, float], Tensor]


@dataclass(frozen=True, slots=True)
class Call:
    """One checked call: the judge's time, and the largest row-relative L2 error among the rows it looked at."""

    latency_us: float
    error: float
    rows: int


class Judge:
    """Judges the candidates of one problem on this machine's CPU."""

    def __init__(self, problem: Problem, hands: Hands, threads: int) -> None:
        torch.set_num_threads(threads)
        _keep_memory()
        self.problem, self.hands, self.threads = problem, hands, threads
        self._module = load_reference(problem)
        self._truth = open_truth(problem, self._module, hands, threads)
        self.arena = Arena((*problem.configurations, *problem.holdouts), hands, threads)

    def baselines(self) -> dict[str, Baseline]:
        """The problem's own baselines by name."""
        found: dict[str, Baseline] = getattr(self._module, "baselines", dict)()
        return dict(found)

    def call(self, worker: Runs, shape: Configuration, *, timeout_s: float, full: Full = False) -> Call:
        """Ask for one call on fresh inputs and check its output: all rows when `full`, else a sample of every head.

        `full` may be decided by the latency: after the call, so that nobody can know it before.

        Raises CandidateFailed with the stage and the reason.
        """
        scale = shape.scale * (_RANDOM.uniform(0.5, 1.5) if shape.holdout else 1.0)
        placement = self.arena.place(shape, scale, _shifts(shape))
        special = self._plant(placement)
        latency_us = worker.run(placement, timeout_s)
        self._check_protocol(placement)
        positions = torch.arange(shape.seqlen) if is_full(full, latency_us) else _sample(shape, special)
        error = self._check_rows(placement, positions)
        return Call(latency_us, error, len(positions) * shape.batch * shape.heads_q)

    def close(self) -> None:
        """Release the shared memory."""
        self.arena.close()

    def _plant(self, placement: Placement) -> list[int]:
        """Make some rows telling: spread ones and needles, where one far key carries the row.

        One row's logits spread with a deviation of HOT_STD (the largest near 100); others by any factor below it, and
        needles stand out by any height, so that no range of logits is safe to get wrong.
        """
        shape = placement.shape
        rows = _RANDOM.sample(range(shape.seqlen), min(5, shape.seqlen))
        hot, needles = rows[: (len(rows) + 1) // 2], rows[(len(rows) + 1) // 2 :]
        spread = placement.scale * shape.head_dim**0.5
        for number, row in enumerate(hot):
            factor = HOT_STD if number == 0 else _RANDOM.choice((_log_uniform(1.0, HOT_STD), _log_uniform(0.01, 1.0)))
            placement.q[:, row] *= factor / spread
        for row in needles:
            strength = _log_uniform(NEEDLE_LOGIT / 3, NEEDLE_LOGIT) / (placement.scale * shape.head_dim)
            reach = row + 1 if shape.causal else shape.seqlen
            key = _RANDOM.randrange(max(1, reach // 2)) if shape.causal else _RANDOM.randrange(reach)
            aligned = placement.k[:, key].repeat_interleave(shape.heads_q // shape.heads_kv, dim=1)
            placement.q[:, row] = aligned * strength
        return rows

    def _check_protocol(self, placement: Placement) -> None:
        name, samples = placement.shape.name, self.arena.sample.count
        if changed := self.arena.changed_since_reply(placement):
            reason = f"it answered before it was done: {changed} of {samples} sampled outputs changed after the reply"
            raise fail("integrity", reason, name, check="early-sample")
        if written := self.arena.disturbed_guards(placement):
            raise fail("integrity", f"it wrote {written} words outside its output", name, check="guards")
        if (index := self.arena.first_not_finite(placement)) is not None:
            where = _place(index, placement.shape)
            bits = placement.o.view(-1)[index].view(torch.int32).item() & 0xFFFFFFFF
            what = "was never written" if bits == placement.poison else "is not a finite number"
            raise fail("check", f"output element {where} {what}", name, check="finite")

    def _check_rows(self, placement: Placement, positions: Tensor) -> float:
        error = self._truth.errors(placement, positions)
        largest = float(error.max())
        if not largest <= self.problem.tolerance:
            raise self._wrong(error, positions, placement)
        return largest

    def _wrong(self, error: Tensor, positions: Tensor, placement: Placement) -> Exception:
        """The failure for wrong rows, naming the worst and how many there are."""
        bad = ~(error <= self.problem.tolerance)
        b, p, h = (int(i) for i in torch.unravel_index(error.argmax(), error.shape))
        heads = int(bad.any(0).any(0).sum())
        largest = float(error.max())
        reason = (
            f"wrong in {int(bad.sum())} of {bad.numel()} rows checked ({heads} of {placement.shape.heads_q} heads): "
            f"batch {b}, position {int(positions[p])}, head {h} has relative error {largest:.2g}, "
            f"allowed {self.problem.tolerance:g}"
        )
        return fail("check", reason, placement.shape.name, error=largest)


def _keep_memory() -> None:
    """Let malloc keep large blocks instead of returning and faulting them in again: a third of the check's time."""
    libc = ctypes.CDLL(None)
    if hasattr(libc, "mallopt"):  # glibc: mallopt(3), M_MMAP_THRESHOLD and M_TRIM_THRESHOLD
        libc.mallopt(-3, 1 << 30)
        libc.mallopt(-1, (1 << 31) - 1)


def load_reference(problem: Problem) -> ModuleType:
    """Load the problem's reference.py. Raises ConfigError when it cannot serve."""
    spec = importlib.util.spec_from_file_location(f"avo_reference_{problem.name}", problem.reference)
    if spec is None or spec.loader is None:
        raise ConfigError(f"{problem.reference}: not a Python file")
    module = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
    except Exception as error:
        raise ConfigError(f"{problem.reference}: {type(error).__name__}: {error}") from error
    if not callable(getattr(module, "reference", None)):
        raise ConfigError(f"{problem.reference}: it must define reference(q, k, v, positions, *, causal, scale)")
    return module


def is_full(full: Full, latency_us: float) -> bool:
    """Whether all rows of a call that took so long are to be checked."""
    return full(latency_us) if callable(full) else full


def _log_uniform(low: float, high: float) -> float:
    return float(low * (high / low) ** _RANDOM.random())


def _shifts(shape: Configuration) -> Tensor:
    """A constant added to V, in a random half of the heads: a wrong normaliser shows there, a missing key elsewhere."""
    heads = torch.tensor([_RANDOM.choice((0.0, 0.0, SHIFT, -SHIFT)) for _ in range(shape.heads_kv)])
    return heads.repeat_interleave(shape.head_dim).contiguous()


def _sample(shape: Configuration, special: list[int]) -> Tensor:
    """The positions to check in every batch and head: first, last, the planted ones and some random ones."""
    count = max(4, SAMPLED_ROWS // shape.batch)
    random_rows = (_RANDOM.randrange(shape.seqlen) for _ in range(count))
    return torch.tensor(sorted({0, shape.seqlen - 1, *special, *random_rows}))


def _place(index: int, shape: Configuration) -> str:
    rest, d = divmod(index, shape.head_dim)
    rest, h = divmod(rest, shape.heads_q)
    b, s = divmod(rest, shape.seqlen)
    return f"[batch {b}, position {s}, head {h}, {d}]"
