"""How many calls are timed, in how many passes, and what is reported of them.

One rule: a low quantile of calls that were each checked, and of passes. Noise on a shared machine only ever adds time,
so the low end repeats best; it would be unsafe if a skipped call could hide among the fast ones, which is why every
timed call is checked. Not the least: where a quiet moment is rare the least is luck, and falls with every try.

A pass is a fresh process that runs every configuration for a moment. Several passes lie seconds apart and in several
processes, where calls in a row would share one bad moment and one heap.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from engine.scorer.problem import Configuration

QUANTILE = 0.2
SLOW_US = 80_000.0
# A measured geomean agrees with a recorded one up to here.
AGREED = 1.05
# So many passes at least, whose geomeans have so small a standard error (relative), repeat.
REPEATS, PRECISE = 3, 0.01


@dataclass(frozen=True, slots=True)
class Plan:
    """How long one configuration may be timed in one process. The count never falls below `least` for a fast one.

    Few configurations share `pass_us`, and may be called more often. An evaluation makes `passes` of them while it is
    younger than `seconds`. In a paired round, whose ratio cancels what both sides pay, a first call of `warm_us` and
    more needs no other before it.
    """

    budget_us: float
    least: int
    most: int
    passes: int = 1
    seconds: float = 0.0
    warm_us: float = math.inf
    pass_us: float = 0.0

    def among(self, configurations: int) -> Plan:
        """The plan for so many configurations in one process."""
        budget_us = max(self.budget_us, self.pass_us / configurations)
        return replace(self, budget_us=budget_us, most=round(self.most * budget_us / self.budget_us))

    def in_a_half(self, first_us: float) -> tuple[int, int]:
        """Timed calls of a source on the way there and on the way back, beside a first one of `first_us`.

        0 there: that first one is the call on the way there.
        """
        more = self.more_calls(first_us)
        if first_us >= self.warm_us:
            return 0, min(more, 1)
        return (more + 1) // 2, (more + 1) // 2

    def more_calls(self, first_us: float) -> int:
        """Timed calls to make after a first one of `first_us`; 0 when that one is itself the measurement.

        A call of 80 ms and more is its own measurement: what a first call adds (page faults, threads) is far below
        one percent of it.
        """
        if first_us >= SLOW_US:
            return 0
        return max(self.least, min(self.most, round(self.budget_us / max(first_us, 1.0))))


EVALUATE = Plan(budget_us=60_000.0, least=2, most=6, passes=2, seconds=2.0, pass_us=300_000.0)
ROUND = Plan(budget_us=50_000.0, least=2, most=8, warm_us=25_000.0)


@dataclass(frozen=True, slots=True)
class Timing:
    """One configuration's figure: latency (low quantile), TFLOPS at it, and the spread of the calls (None for one)."""

    latency_us: float
    tflops: float
    tflops_std: float | None
    calls: int

    @property
    def spread(self) -> float | None:
        """Relative spread of the timed calls."""
        return None if self.tflops_std is None else self.tflops_std / self.tflops


def quantile(values: Sequence[float], q: float = QUANTILE) -> float:
    """The q-quantile with linear interpolation."""
    ordered = sorted(values)
    at = q * (len(ordered) - 1)
    low = int(at)
    high = min(low + 1, len(ordered) - 1)
    return ordered[low] + (at - low) * (ordered[high] - ordered[low])


def summarise(shape: Configuration, passes: Sequence[Sequence[float]]) -> Timing:
    """The figure of one configuration from the timed calls of its passes (microseconds).

    Each pass is worth its low quantile, and the figure is the low quantile of the passes; the spread is that of all
    calls.
    """
    latency = quantile([quantile(calls) for calls in passes])
    rates = [shape.flops / (us * 1e6) for calls in passes for us in calls]
    std = statistics.stdev(rates) if len(rates) > 1 else None
    return Timing(latency, shape.flops / (latency * 1e6), std, len(rates))


def agree(figures: Sequence[Sequence[float]], recorded: Sequence[float]) -> bool:
    """Whether what was measured is what was recorded, in the geomean, either way.

    `figures` has the passes' figures of each configuration, `recorded` one latency of each.
    """
    apart = [math.log(quantile(own) / us) for own, us in zip(figures, recorded, strict=True)]
    return abs(statistics.fmean(apart)) <= math.log(AGREED)


def repeat(figures: Sequence[Sequence[float]]) -> bool:
    """Whether the passes agree with each other: by the standard error of their geomeans."""
    geomeans = [statistics.fmean(map(math.log, one)) for one in zip(*figures, strict=True)]
    return len(geomeans) >= REPEATS and statistics.stdev(geomeans) <= PRECISE * math.sqrt(len(geomeans))


@dataclass(slots=True)
class Passes:
    """What was measured of one configuration: the calls of each pass (microseconds), and the largest error.

    `quiet` says of each pass whether it has a call before and after which nobody else worked on the device's cores.
    """

    calls: list[list[float]] = field(default_factory=list)
    quiet: list[bool] = field(default_factory=list)
    error: float = 0.0

    def add(self, calls: Sequence[tuple[float, bool]], error: float) -> None:
        """One more pass: the time of each call and whether it was quiet."""
        self.calls.append([us for us, _ in calls])
        self.quiet.append(any(quiet for _, quiet in calls))
        self.error = max(self.error, error)

    def last(self, passes: int) -> Passes:
        """The latest of them, with the largest error of all."""
        return Passes(self.calls[-passes:], self.quiet[-passes:], self.error)

    @property
    def figures(self) -> list[float]:
        """What each pass is worth, in microseconds."""
        return [quantile(calls) for calls in self.calls]

    @property
    def disturbed(self) -> bool:
        """Whether most passes had company."""
        return 2 * sum(self.quiet) < len(self.calls)
