"""How many calls are timed, in how many passes, and what is reported of them.

One rule: the low end of calls that were each checked. Noise on a shared machine only ever adds time, so the low
end repeats best (we measured a CV of 0.9 % for minima where medians had 7.3 %); it would be unsafe
if a skipped call could hide among the fast ones, which is why every timed call is checked.

A pass is a fresh process that runs every configuration for a moment. Several passes lie seconds apart and in several
processes, where calls in a row would share one bad moment and one heap.
"""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass, field

from engine.scorer.problem import Configuration

QUANTILE = 0.2
SLOW_US = 80_000.0
# Two figures of one configuration agree up to here.
AGREED = 1.05


@dataclass(frozen=True, slots=True)
class Plan:
    """How long one configuration may be timed in one process. The count never falls below `least` for a fast one.

    An evaluation makes `passes` of them while it is younger than `seconds`.
    """

    budget_us: float
    least: int
    most: int
    passes: int = 1
    seconds: float = 0.0

    def more_calls(self, first_us: float) -> int:
        """Timed calls to make after a first one of `first_us`; 0 when that one is itself the measurement.

        A call of 80 ms and more is its own measurement: what a first call adds (page faults, threads) is far below
        one percent of it.
        """
        if first_us >= SLOW_US:
            return 0
        return max(self.least, min(self.most, round(self.budget_us / max(first_us, 1.0))))


EVALUATE = Plan(budget_us=60_000.0, least=2, most=6, passes=2, seconds=1.0)
ROUND = Plan(budget_us=50_000.0, least=2, most=8)


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
    """The figure of one configuration from the timed calls of its passes (microseconds): the best pass counts.

    Each pass is worth its low quantile; the spread is that of all calls.
    """
    latency = min(quantile(calls) for calls in passes)
    rates = [shape.flops / (us * 1e6) for calls in passes for us in calls]
    std = statistics.stdev(rates) if len(rates) > 1 else None
    return Timing(latency, shape.flops / (latency * 1e6), std, len(rates))


@dataclass(slots=True)
class Passes:
    """What was measured of one configuration: the calls of each pass (microseconds), and the largest error.

    `quiet` has the best call of each pass in which nobody else worked on the device's cores before and after it.
    """

    calls: list[list[float]] = field(default_factory=list)
    quiet: list[float] = field(default_factory=list)
    error: float = 0.0

    def add(self, calls: Sequence[tuple[float, bool]], error: float) -> float | None:
        """One more pass: the time of each call and whether it was quiet. Its figure when it is the best so far."""
        earlier = [quantile(c) for c in self.calls]
        self.calls.append([us for us, _ in calls])
        self.quiet.extend(sorted(us for us, quiet in calls if quiet)[:1])
        self.error = max(self.error, error)
        figure = quantile(self.calls[-1])
        return figure if not earlier or figure < min(earlier) else None

    def settled(self, passes: int) -> bool:
        """Whether so many quiet passes agree on the best figure: one call may have been disturbed in its middle."""
        best = min(quantile(calls) for calls in self.calls)
        return sum(us <= best * AGREED for us in self.quiet) >= passes
