"""How many calls are timed, and what is reported of them.

One rule: a low quantile of calls that were each checked. Noise on a shared machine only ever adds time, so the low
end repeats best (we measured a CV of 0.9 % for minima where medians had 7.3 %); it would be unsafe
if a skipped call could hide among the fast ones, which is why every timed call is checked.
"""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass

from engine.scorer.problem import Configuration

QUANTILE = 0.2
SLOW_US = 80_000.0


@dataclass(frozen=True, slots=True)
class Plan:
    """How long one configuration may be timed. The count never falls below `least` for a fast candidate."""

    budget_us: float
    least: int
    most: int

    def more_calls(self, first_us: float) -> int:
        """Timed calls to make after a first one of `first_us`; 0 when that one is itself the measurement.

        A call of 80 ms and more is its own measurement: what a first call adds (page faults, threads) is far below
        one percent of it.
        """
        if first_us >= SLOW_US:
            return 0
        return max(self.least, min(self.most, round(self.budget_us / max(first_us, 1.0))))


EVALUATE = Plan(budget_us=200_000.0, least=5, most=16)
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


def summarise(shape: Configuration, latencies_us: Sequence[float]) -> Timing:
    """The figure of one configuration from its timed calls."""
    latency = quantile(latencies_us)
    rates = [shape.flops / (us * 1e6) for us in latencies_us]
    std = statistics.stdev(rates) if len(rates) > 1 else None
    return Timing(latency, shape.flops / (latency * 1e6), std, len(rates))
