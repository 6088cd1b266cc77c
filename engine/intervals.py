"""Intervals for a few noisy rounds: Student's t, a trimmed mean, and how the error is spent over several looks.

Nothing here knows of kernels. Every figure is a natural logarithm of a ratio, so 0 is "no difference".
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import lru_cache
from statistics import NormalDist

from engine.record.frozen import dataclass

# From this many rounds on the spread of the rounds themselves is measured. Before, it is taken from the
# configurations within the rounds, as its upper bound; and with too few of those it is simply assumed.
MEASURED_FROM = 6
ASSUMED_SPREAD, ENOUGH_FREEDOM = 0.15, 7
# What configurations share within a round (a busy machine) does not show between them: never below this.
LEAST_EARLY_SPREAD = 0.05
# From this many rounds on, this fraction is cut from each end: one bad round then neither wins nor loses a verdict.
TRIM_FROM, TRIM = 12, 0.125
# No measured spread is believed below this; two equal clock readings do not prove a perfect clock.
LEAST_SPREAD = 0.0005


@dataclass(frozen=True, slots=True)
class Interval:
    """A mean with its bounds; `error` is its standard error and `best` the greatest of the values."""

    mean: float
    low: float
    high: float
    error: float
    best: float


def interval(rounds: Sequence[Sequence[float]], tail: float) -> Interval:
    """Bounds on the mean of the rounds' means, each missing it with probability at most `tail`.

    `rounds` is [round][configuration]. With fewer than MEASURED_FROM rounds the spread is an upper bound
    (`_early_spread`), and the bounds start at the least and the greatest round: every single one has to agree.
    From then on it is a t interval over the rounds, with the ends trimmed (Tukey and McLaughlin 1963: mean of
    the kept values, error from the winsorised ones). One degree of freedom is given up for each value cut at
    an end: without that the far tails are 10 to 30 % too light.
    """
    values = [sum(cells) / len(cells) for cells in rounds]
    n = len(values)
    if n < MEASURED_FROM:
        error = _early_spread(rounds) / math.sqrt(n)
        width = -NormalDist().inv_cdf(tail) * error
        return Interval(sum(values) / n, min(values) - width, max(values) + width, error, max(values))
    cut = cut_of(n)
    ordered = sorted(values)
    kept = ordered[cut : n - cut]
    mean = sum(kept) / len(kept)
    error = max(_error(ordered, cut), LEAST_SPREAD / math.sqrt(n))
    width = student(tail, freedom_of(n)) * error
    return Interval(mean, mean - width, mean + width, error, ordered[-1])


def cut_of(n: int) -> int:
    """How many of `n` rounds are cut from each end."""
    return 0 if n < TRIM_FROM else int(n * TRIM)


def freedom_of(n: int) -> int:
    """The degrees of freedom of `n` rounds."""
    return max(n - 3 * cut_of(n) - 1, 1)


def _early_spread(rounds: Sequence[Sequence[float]]) -> float:
    """The standard deviation of one round's mean, taken high: a 99.9 % bound on that of a single configuration.

    Configurations that err independently make the mean better than that, and those that err together no worse.
    """
    n, columns = len(rounds), list(zip(*rounds, strict=True))
    freedom = len(columns) * (n - 1)
    means = [sum(column) / n for column in columns]
    squares = sum((v - m) ** 2 for column, m in zip(columns, means, strict=True) for v in column)
    spread = math.sqrt(squares / freedom) if freedom else 0.0
    if freedom < ENOUGH_FREEDOM:
        return max(ASSUMED_SPREAD, 3 * spread)
    third = 2 / (9 * freedom)  # Wilson and Hilferty: the cube root of a chi-square is nearly normal
    low = 1 - third + NormalDist().inv_cdf(0.001) * math.sqrt(third)
    return max(LEAST_EARLY_SPREAD, spread / math.sqrt(low**3))


def _error(ordered: Sequence[float], cut: int) -> float:
    """Standard error of the trimmed mean: the cut values are replaced by their nearest kept neighbour."""
    n = len(ordered)
    low, high, kept = ordered[cut], ordered[n - 1 - cut], n - 2 * cut
    pulled = [min(max(v, low), high) for v in ordered]
    mean = sum(pulled) / n
    return math.sqrt(sum((v - mean) ** 2 for v in pulled) / (kept * (kept - 1)))


@lru_cache
def looks(least: int, most: int) -> tuple[int, ...]:
    """After how many rounds to look: often at first, where a plain answer is likely, then rarely."""
    usual = (2, 4, 6, 8, 12, 16, 24, 36, 54, 80, 120, 180)
    return tuple(sorted({least, most, *(n for n in usual if least < n < most)}))


@lru_cache
def spend(alpha: float, at: tuple[int, ...]) -> tuple[float, ...]:
    """The error that each look may spend. Cumulative alpha * (n / most)^3 (Kim and DeMets 1987, power family).

    The shares add up to `alpha`, so by the union bound all looks together err with at most `alpha`.
    """
    total = [alpha * (n / at[-1]) ** 3 for n in at]
    return tuple(now - before for now, before in zip(total, [0.0, *total[:-1]], strict=True))


@lru_cache(maxsize=4096)
def student(tail: float, freedom: int) -> float:
    """The t value that is exceeded with probability `tail` < 0.5, by bisection on the exact tail."""
    low, high = 0.0, 2.0
    while _student_tail(high, freedom) > tail:
        low, high = high, high * 2
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if _student_tail(middle, freedom) > tail else (low, middle)
    return high


def _student_tail(t: float, freedom: int) -> float:
    """P(T > t) for t >= 0: half the regularised incomplete beta function at v/(v+t²)."""
    return 0.5 * _beta(freedom / (freedom + t * t), freedom / 2, 0.5)


def _beta(x: float, a: float, b: float) -> float:
    """The regularised incomplete beta function (Abramowitz and Stegun 26.5.8, a continued fraction)."""
    if x <= 0 or x >= 1:
        return float(x >= 1)
    if x > (a + 1) / (a + b + 2):
        return 1 - _beta(1 - x, b, a)
    log_front = a * math.log(x) + b * math.log1p(-x) + math.lgamma(a + b) - math.lgamma(a) - math.lgamma(b)
    return math.exp(log_front) / a * _fraction(x, a, b)


def _fraction(x: float, a: float, b: float) -> float:
    """The continued fraction of `_beta`, evaluated from its end; 200 terms are far more than it needs."""
    value = 1.0
    for m in range(200, 0, -1):
        k = m // 2
        top = k * (b - k) if m % 2 == 0 else -(a + k) * (a + b + k)
        value = 1 + top * x / ((a + m - 1) * (a + m)) / value
    return 1 / value
