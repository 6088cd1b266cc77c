"""Baselines: what people would otherwise use, measured by the same judge, inputs, clock and thread count.

One rule: a baseline is trusted code, so it runs in the judge's process; only its own work is timed, not the copy of
its result into the shared output.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import TYPE_CHECKING

from engine.record.errors import ScorerError
from engine.scorer.arena import Placement
from engine.scorer.judge import Judge

if TYPE_CHECKING:
    from engine.scorer.device import Judges
    from engine.scorer.reference import Baseline

PREFIX = "baseline:"


class LocalWorker:
    """Answers calls with a baseline, as a worker would. It loads torch; nothing else here does."""

    def __init__(self, judge: Judge, name: str) -> None:
        self._judge = judge
        self._function = find(judge, name)

    def run(self, placement: Placement, timeout_s: float) -> float:
        """One timed call; returns microseconds."""
        import torch

        from engine.scorer.reference import views

        seen, causal, scale = views(placement), placement.shape.causal, placement.scale
        with torch.inference_mode():
            begin = time.clock_gettime_ns(time.CLOCK_MONOTONIC_RAW)
            out = self._function(seen.q, seen.k, seen.v, causal, scale)
            elapsed_ns = time.clock_gettime_ns(time.CLOCK_MONOTONIC_RAW) - begin
        seen.o.copy_(out)
        self._judge.arena.remember(placement)
        return elapsed_ns / 1e3

    def close(self) -> None:
        """Nothing to end."""


def find(judge: Judge, name: str) -> Baseline:
    """A baseline by name. Raises ScorerError for an unknown one."""
    known = judge.baselines()
    if name not in known:
        raise ScorerError(f"{judge.problem.name}: no baseline {name!r}; it has {', '.join(known) or 'none'}")
    return known[name]


def names(judge: Judges, chosen: Sequence[str] | None) -> list[str]:
    """The baselines asked for, or all of them."""
    return list(judge.baselines()) if chosen is None else list(chosen)


def every(judge: Judges, sources: Sequence[str]) -> list[str]:
    """`sources` with "baseline:*" replaced by each baseline that this machine has."""
    if f"{PREFIX}*" not in sources:
        return list(sources)
    known = [f"{PREFIX}{name}" for name in judge.baselines()]
    return [name for source in sources for name in (known if source == f"{PREFIX}*" else [source])]
