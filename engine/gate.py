"""The gate: whether a candidate is committed. One pure function over interleaved rounds.

A verdict rests on pairs measured side by side, never on a stored score, and "matched" is judged
against the last proven-better version too, so that noise cannot wear the lineage down.
Statistics: notes of the design on scoring, section 2 item 9; tests/gate shows what this rule costs and commits.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import field
from typing import Any

from engine import intervals
from engine.intervals import Interval
from engine.record import events as ev
from engine.record.config import GateConfig
from engine.record.frozen import dataclass
from engine.record.scores import Score

CANDIDATE, INCUMBENT = 0, 1
# Give up early when even a mean this many standard errors better would not match at the last look.
HOPE = 1.5


@dataclass(frozen=True, slots=True)
class Failure:
    """Why a source produced no figure in a round."""

    stage: str
    reason: str
    configuration: str | None = None


@dataclass(frozen=True, slots=True)
class Round:
    """One interleaved round. `latency_us` is [source][configuration]; sources: candidate, incumbent, (anchor).

    `order` is the order in which the sources ran; `seconds` what the round took; `sensors` the device's clock_mhz,
    power_w and temperature_c after each configuration, kept for people: no verdict looks at them.
    """

    order: tuple[int, ...]
    latency_us: tuple[tuple[float | None, ...], ...]
    failures: tuple[Failure | None, ...]
    seconds: float
    sensors: Mapping[str, Sequence[float | None]] = field(default_factory=dict)

    @staticmethod
    def from_json(value: Mapping[str, Any]) -> Round:
        """A round from the scorer's JSON."""
        failures = tuple(
            None if f is None else Failure(f.get("stage", ""), f.get("reason", ""), f.get("configuration"))
            for f in value["failures"]
        )
        latency = tuple(tuple(row) for row in value["latency_us"])
        seconds, sensors = float(value.get("seconds", 0.0)), dict(value.get("sensors") or {})
        return Round(tuple(value.get("order", ())), latency, failures, seconds, sensors)


@dataclass(frozen=True, slots=True)
class Verdict:
    """The gate's word. `ratio` is incumbent time over candidate time, with its bounds; None when not measured."""

    verdict: ev.Verdict
    reason: str
    ratio: float | None = None
    low: float | None = None
    high: float | None = None
    rounds: int = 0

    @property
    def commits(self) -> bool:
        """Whether the candidate becomes a version."""
        return self.verdict in {"improved", "matched"}


@dataclass(frozen=True, slots=True)
class More:
    """Not decided: measure this many further rounds, then ask again. `why` says what is still open."""

    rounds: int
    why: str = ""


def decide(candidate: Score, rounds: Sequence[Round], rule: GateConfig) -> Verdict | More:
    """The verdict on a candidate after some rounds, or how many more it takes.

    `rule.confidence` bounds the error of all looks together on each side: a candidate that is no faster is
    called improved with probability at most 1 - confidence. Give it all rounds so far each time.
    """
    if not candidate.correct:
        return Verdict("incorrect", f"{candidate.stage}: {candidate.reason}")
    for number, taken in enumerate(rounds, 1):
        if failure := taken.failures[CANDIDATE]:
            return _incorrect(failure, number)
    usable = [r for r in rounds if _whole(r)]
    broken = len(rounds) - len(usable)
    if broken >= max(rule.min_rounds, len(usable) + 1):
        return _unmeasured(rounds, len(usable))
    plan = _plan(usable, rule)
    n = len(usable)
    if n not in plan.looks:
        return More(min(look for look in plan.looks if look > n) - n, "too few rounds to say")
    return _judge(usable, plan, rule)


@dataclass(frozen=True, slots=True)
class _Plan:
    """When to look, what error each look may spend, and what bounds the last one, in words.

    From `affordable` rounds on only a candidate that seems better is measured further.
    """

    looks: tuple[int, ...]
    tails: tuple[float, ...]
    affordable: int
    bound: str


def _plan(usable: Sequence[Round], rule: GateConfig) -> _Plan:
    """Rounds as the rule allows, fewer when their time would run out, never fewer than were already taken.

    On a busy machine the time may allow two rounds, and two cannot prove half of a gain that six would show: the
    permitted error is spread so far, whether or not the candidate turns out to be worth the time.
    """
    allowed = max(rule.max_rounds, rule.min_rounds)
    affordable, bound = allowed, "the limit of rounds"
    if usable:
        seconds = sum(r.seconds for r in usable) / len(usable)
        in_time = int(rule.max_seconds / seconds) if seconds > 0 else allowed
        if in_time < allowed:
            affordable, bound = max(in_time, rule.min_rounds), f"the limit of {rule.max_seconds:.0f} s"
    most = max(affordable, min(intervals.MEASURED_FROM, allowed), len(usable))
    at = intervals.looks(rule.min_rounds, most)
    return _Plan(at, intervals.spend(1 - rule.confidence, at), affordable, bound)


def _judge(usable: Sequence[Round], plan: _Plan, rule: GateConfig) -> Verdict | More:
    n = len(usable)
    tail = plan.tails[plan.looks.index(n)]
    against = [intervals.interval(_log_ratios(usable, source), tail) for source in _rivals(usable)]
    worst = min(a.low for a in against)
    margin = math.log1p(-rule.match_margin)
    last = n == plan.looks[-1]
    late = last or n >= plan.affordable
    shown = against[0]
    if worst > 0:
        return _verdict("improved", shown, n, f"{_range(shown, n)}: proven faster")
    if worst > margin:
        if late or not all(_may_pass(a, n, plan, 0.0) for a in against):
            within = f"no more than {rule.match_margin:.2%} slower than the best, at worst"
            return _verdict("matched", shown, n, f"{_range(shown, n)}: {within}")
    elif any(a.high < 0 for a in against):
        return _verdict("regressed", shown, n, f"{_range(shown, n)}: proven slower{_than_whom(against)}")
    elif last or (late and not all(a.mean > 0 for a in against)):
        return _verdict("regressed", shown, n, f"{_range(shown, n)}: {_not_proven(against, plan, rule)}")
    elif not all(_may_pass(a, n, plan, margin) for a in against):
        return _verdict("regressed", shown, n, f"{_range(shown, n)}: more rounds would not prove a match")
    following = min(look for look in plan.looks if look > n)
    return More(following - n, f"{_range(shown, n)}: not plain yet")


def _whole(taken: Round) -> bool:
    """Whether every source has a time for every configuration in this round."""
    return not any(taken.failures) and all(row and all(row) for row in taken.latency_us)


def _rivals(usable: Sequence[Round]) -> range:
    return range(INCUMBENT, len(usable[0].latency_us))


def _log_ratios(usable: Sequence[Round], rival: int) -> list[list[float]]:
    """[round][configuration] of log(rival / candidate): positive is faster."""
    return [_pairs(r.latency_us[CANDIDATE], r.latency_us[rival]) for r in usable]


def _pairs(candidate: Sequence[float | None], rival: Sequence[float | None]) -> list[float]:
    return [math.log(o / c) for c, o in zip(candidate, rival, strict=True) if c and o]


def _may_pass(a: Interval, n: int, plan: _Plan, threshold: float) -> bool:
    """Whether the last look could prove more than `threshold`, were the truth HOPE standard errors better.

    While the spread is only assumed, a candidate is given up when even its best round is far below.
    """
    if n < intervals.MEASURED_FROM:
        return a.best + HOPE * a.error > threshold
    most = plan.looks[-1]
    width = intervals.student(plan.tails[-1], intervals.freedom_of(most)) * a.error * math.sqrt(n / most)
    return a.mean + HOPE * a.error - width > threshold


def _verdict(verdict: ev.Verdict, a: Interval, n: int, reason: str) -> Verdict:
    return Verdict(verdict, reason, math.exp(a.mean), math.exp(a.low), math.exp(a.high), n)


def _range(a: Interval, n: int) -> str:
    """The ratio with its bounds and the rounds behind it, in words."""
    low, ratio, high = (math.exp(v) for v in (a.low, a.mean, a.high))
    return f"{ratio:.4g}x the incumbent (between {low:.4g} and {high:.4g}, {n} round{'s' * (n != 1)})"


def _than_whom(against: Sequence[Interval]) -> str:
    return "" if against[0].high < 0 else " than the last version that was proven better"


def _not_proven(against: Sequence[Interval], plan: _Plan, rule: GateConfig) -> str:
    whom = "the incumbent" if against[0].low == min(a.low for a in against) else "the last proven-better version"
    return f"not proven to match {whom} (the lower bound must pass {1 - rule.match_margin:.4g}) within {plan.bound}"


def _incorrect(failure: Failure, number: int) -> Verdict:
    where = f" in {failure.configuration}" if failure.configuration else ""
    return Verdict("incorrect", f"{failure.stage}{where}, round {number} of the gate: {failure.reason}", rounds=number)


def _unmeasured(rounds: Sequence[Round], usable: int) -> Verdict:
    """The rival itself failed too often. Nothing is proven, so nothing is committed."""
    failure = next((f for r in rounds for f in r.failures if f), None)
    why = f": {failure.stage}: {failure.reason}" if failure else ""
    return Verdict(
        "regressed", f"the incumbent could not be measured in {len(rounds) - usable} rounds{why}", rounds=len(rounds)
    )
