"""Pairing: which configurations the paired rounds measure, and for how long.

One rule: every configuration was scored and checked before; the rounds only have to settle which of two is faster.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from statistics import median

from engine.gate import Round
from engine.record.config import GateConfig
from engine.record.scores import Score
from engine.scorer.problem import Problem

PLAIN_RATIO, LOSES_MUCH = 2.5, 0.5
# A round makes about two calls of each source in each configuration.
SLOW_ROUND_S, CALLS_IN_ROUND = 2.0, 2
GATE_SHARE, GATE_LEAST_S = 0.15, 20.0
PATIENCE_SHARE, PATIENCE_LEAST_S = 0.04, 3.0
# A glance beside an evaluation: two rounds of the quick suite, one when a single call of each costs this much.
BLUR = 1.25
GLANCE_ROUNDS, MORE_ROUNDS, LONG_CALLS_US = 2, 3, 150_000.0


def columns(problem: Problem, candidate: Score, rivals: Sequence[Score]) -> list[str] | None:
    """The configurations to pair on; None is all of them. `rivals` are recorded scores, the incumbent's first.

    The quick suite says enough when three quarters of the recorded scores differ by PLAIN_RATIO, or when a round
    of everything would take longer than SLOW_ROUND_S and no more than a quarter of them seem to lose much. Where even
    the quick suite takes so long, its quickest relatives stand for it.
    """
    incumbent = rivals[0]
    pairs = [(c.latency_us, incumbent.of(c.name)) for c in candidate.configurations]
    ratios = [i.latency_us / own for own, i in pairs if own and i is not None and i.latency_us]
    # The lower quartile, not the least: on a busy machine one call in eight is easily five times too slow.
    least = sorted(ratios)[len(ratios) // 4] if ratios and len(ratios) == len(pairs) else 0.0
    slow = _round_s((candidate, *rivals)) > SLOW_ROUND_S
    if not (least >= PLAIN_RATIO or (slow and least >= LOSES_MUCH)):
        return None
    quick = [c.name for c in problem.suite("quick")]
    return _quickest(problem, candidate) if _round_s((candidate, *rivals), quick) > SLOW_ROUND_S else quick


def _round_s(scores: Sequence[Score], names: Sequence[str] | None = None) -> float:
    """About how long a round of these takes, over all configurations or the named ones."""
    rows = [c for score in scores for c in score.configurations if names is None or c.name in names]
    return CALLS_IN_ROUND * sum(c.latency_us or 0.0 for c in rows) / 1e6


def _quickest(problem: Problem, score: Score) -> list[str]:
    """As many configurations as the quick suite has, each the quickest that is left with the same mask."""
    took = {c.name: c.latency_us or math.inf for c in score.configurations}
    left = sorted(problem.configurations, key=lambda c: took.get(c.name, math.inf))
    chosen = []
    for wanted in problem.suite("quick"):
        found = next((c for c in left if c.causal == wanted.causal), wanted)
        left = [c for c in left if c.name != found.name]
        chosen.append(found.name)
    return chosen


def within(rule: GateConfig, seconds_left: float) -> GateConfig:
    """The gate's rule for a run that ends soon: one verdict takes no more than a share of the time that is left."""
    return replace(rule, max_seconds=min(rule.max_seconds, max(GATE_LEAST_S, GATE_SHARE * seconds_left)))


def patience_s(rule_s: float, seconds_left: float) -> float:
    """How long a version's figures are measured anew when they do not agree; a run that ends soon takes less."""
    return min(rule_s, max(PATIENCE_LEAST_S, PATIENCE_SHARE * seconds_left))


def glance(problem: Problem, score: Score, incumbent: Score) -> tuple[list[str], int]:
    """What an evaluation pairs with the incumbent: configurations of the quick suite, and how many rounds.

    Where these take long, their quickest relatives stand for them.
    """
    scored = [c.name for c in score.configurations]
    names = [c.name for c in problem.suite("quick") if c.name in scored] or scored
    if _round_s((score, incumbent), names) > SLOW_ROUND_S:
        return _quickest(problem, incumbent), 1
    long = sum(c.latency_us or 0.0 for c in score.configurations if c.name in names) > LONG_CALLS_US
    return names, 1 if long else GLANCE_ROUNDS


def ratio(rounds: Sequence[Round]) -> float | None:
    """How many times faster the first source of the rounds is than the second; None when one was not measured."""
    found = [value for r in rounds for value in _ratios(r)]
    return None if None in found or not found else median([v for v in found if v])


def unsteady(rounds: Sequence[Round]) -> bool:
    """Whether the ratios of a few rounds differ so much that a look at more of them is worth the time.

    It is not where all of them say faster: the gate gives the plain word then, and configurations gain unequally.
    """
    found = [value for r in rounds for value in _ratios(r) if value]
    return bool(found) and min(found) < 1.0 and max(found) / min(found) > BLUR


def _ratios(one: Round) -> list[float | None]:
    pairs = zip(one.latency_us[0], one.latency_us[1], strict=True)
    return [incumbent / own if own and incumbent else None for own, incumbent in pairs]


def blurred(low: float | None, high: float | None) -> bool:
    """Whether a gate's interval is so wide around 1 that the machine was too busy to tell; it may be asked again."""
    return low is not None and high is not None and low < 1.0 < high and high / low > BLUR
