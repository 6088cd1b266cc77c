"""The judge: draws the inputs, owns the clock, checks the output, decides. It never loads candidate code.

One rule: a call counts only when its own output was checked. Timed calls, warm-up calls and checked calls are the
same calls, with inputs from the same law, so a candidate cannot tell them apart.
"""

from __future__ import annotations

import ctypes
import math
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from engine.scorer.arena import Arena, Placement
from engine.scorer.failure import fail
from engine.scorer.hands import Hands, Queries
from engine.scorer.importing import TORCH
from engine.scorer.problem import Configuration, Problem
from engine.scorer.truth import open_truth
from engine.scorer.worker import Runs

if TYPE_CHECKING:
    from engine.scorer.reference import Baseline, Reference

_RANDOM = random.SystemRandom()
NEEDLE_LOGIT = 24.0
HOT_STD = 28.0
SHIFT = 2.0
SAMPLED_ROWS = 10

Full = bool | Callable[[float], bool]


@dataclass(frozen=True, slots=True)
class Call:
    """One checked call: the judge's time, and the largest row-relative L2 error among the rows it looked at."""

    latency_us: float
    error: float
    rows: int


class Judge:
    """Judges the candidates of one problem on this machine's CPU; `agreement` is that of truth.py."""

    def __init__(self, problem: Problem, hands: Hands, threads: int, agreement: Path) -> None:
        _keep_memory()
        self.problem, self.hands, self.threads = problem, hands, threads
        self._reference: Reference | None = None
        self._truth = open_truth(problem, hands, threads, agreement, self._load)
        self.arena = Arena((*problem.configurations, *problem.holdouts), hands, threads)

    def baselines(self) -> dict[str, Baseline]:
        """The problem's own baselines by name."""
        return self._load().baselines()

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
        sample = _sample(shape, special)
        error, rows = self._check_rows(placement, sample, everywhere=is_full(full, latency_us))
        return Call(latency_us, error, rows)

    def close(self) -> None:
        """Release the shared memory."""
        self.arena.close()

    def _load(self) -> Reference:
        """reference.py, which few calls need: it takes torch."""
        if self._reference is None:
            TORCH.wait()
            from engine.scorer.reference import Reference

            self._reference = Reference(self.problem, self.threads)
        return self._reference

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
            self.hands.heat(_queries(placement, row), factor / spread)
        for row in needles:
            strength = _log_uniform(NEEDLE_LOGIT / 3, NEEDLE_LOGIT) / (placement.scale * shape.head_dim)
            reach = row + 1 if shape.causal else shape.seqlen
            key = _RANDOM.randrange(max(1, reach // 2)) if shape.causal else _RANDOM.randrange(reach)
            self.hands.align(_queries(placement, row), placement.k, key, strength)
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
            bits = ctypes.c_uint32.from_address(placement.o + 4 * index)
            what = "was never written" if bits.value == placement.poison else "is not a finite number"
            raise fail("check", f"output element {where} {what}", name, check="finite")

    def _check_rows(self, placement: Placement, sample: Sequence[int], *, everywhere: bool) -> tuple[float, int]:
        """The largest error and how many rows were looked at: those of a sample of positions, or all."""
        shape, tolerance = placement.shape, self.problem.tolerance
        if everywhere:
            positions, errors = self._truth.all_errors(placement, sample, tolerance)
        else:
            positions, errors = sample, self._truth.errors(placement, sample)
        rows = shape.batch * shape.heads_q * (shape.seqlen if everywhere else len(sample))
        if bad := [row for row, error in enumerate(errors) if not error <= tolerance]:  # what is not a number, too
            raise self._wrong(errors, bad, positions, rows, placement)
        return max(errors), rows

    def _wrong(
        self, errors: Sequence[float], bad: Sequence[int], positions: Sequence[int], rows: int, placement: Placement
    ) -> Exception:
        """The failure for wrong ones of `rows`, [batch, positions, heads_q]: names the worst and how many there are."""
        heads = placement.shape.heads_q
        touched = len({row % heads for row in bad})
        worst = max(bad, key=lambda row: math.inf if math.isnan(errors[row]) else errors[row])
        rest, head = divmod(worst, heads)
        batch, number = divmod(rest, len(positions))
        reason = (
            f"wrong in {len(bad)} of {rows} rows checked ({touched} of {heads} heads): "
            f"batch {batch}, position {positions[number]}, head {head} has relative error {errors[worst]:.2g}, "
            f"allowed {self.problem.tolerance:g}"
        )
        return fail("check", reason, placement.shape.name, error=errors[worst])


def _keep_memory() -> None:
    """Let malloc keep large blocks instead of returning and faulting them in again: a third of the check's time."""
    libc = ctypes.CDLL(None)
    if hasattr(libc, "mallopt"):  # glibc: mallopt(3), M_MMAP_THRESHOLD and M_TRIM_THRESHOLD
        libc.mallopt(-3, 1 << 30)
        libc.mallopt(-1, (1 << 31) - 1)


def is_full(full: Full, latency_us: float) -> bool:
    """Whether all rows of a call that took so long are to be checked."""
    return full(latency_us) if callable(full) else full


def _log_uniform(low: float, high: float) -> float:
    return float(low * (high / low) ** _RANDOM.random())


def _queries(placement: Placement, position: int) -> Queries:
    s = placement.shape
    return Queries(placement.q, s.batch, s.seqlen, s.heads_q, s.heads_kv, s.head_dim, position)


def _shifts(shape: Configuration) -> list[float]:
    """A constant added to V, in a random half of the heads: a wrong normaliser shows there, a missing key elsewhere."""
    heads = [_RANDOM.choice((0.0, 0.0, SHIFT, -SHIFT)) for _ in range(shape.heads_kv)]
    return [shift for shift in heads for _ in range(shape.head_dim)]


def _sample(shape: Configuration, special: list[int]) -> list[int]:
    """The positions to check in every batch and head: first, last, the planted ones and some random ones."""
    count = max(4, SAMPLED_ROWS // shape.batch)
    random_rows = (_RANDOM.randrange(shape.seqlen) for _ in range(count))
    return sorted({0, shape.seqlen - 1, *special, *random_rows})


def _place(index: int, shape: Configuration) -> str:
    rest, d = divmod(index, shape.head_dim)
    rest, h = divmod(rest, shape.heads_q)
    b, s = divmod(rest, shape.seqlen)
    return f"[batch {b}, position {s}, head {h}, {d}]"
