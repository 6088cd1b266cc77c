"""Detectors: is the run stuck, and how. Pure functions over the run's facts; each finding carries its evidence.

A fault of the scorer is no attempt, and paused time is no time. Figures are
configuration (SupervisorConfig).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import field
from typing import Literal

from engine.conduct import Conduct, Sign, signs
from engine.record.config import SupervisorConfig
from engine.record.events import Level
from engine.record.frozen import dataclass
from engine.record.reader import Attempt

What = Literal["stall", "cycle", "failures", "conduct"]
LEVELS: tuple[Level, ...] = ("nudge", "review", "restore", "pause")
PERIODS = 3


@dataclass(frozen=True, slots=True)
class Trajectory:
    """What happened since the last reset (a new best, a moved head, a pause that called the person).

    `attempts` and `pursued` (ids of directions) are oldest first; `minutes` is running time; `best` names the version;
    `conduct` is what the operator did besides.
    """

    attempts: tuple[Attempt, ...]
    pursued: tuple[str, ...]
    minutes: float
    best: str
    conduct: Conduct = field(default_factory=Conduct)


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that is wrong, how far the ladder it reaches, and what was seen, in a sentence."""

    what: What
    level: Level
    name: str
    evidence: str


def look(trajectory: Trajectory, rule: SupervisorConfig) -> list[Finding]:
    """Everything that the detectors find, the most serious first."""
    each = (stall(trajectory, rule), cycle(trajectory, rule), failures(trajectory, rule), conduct(trajectory, rule))
    found = [f for f in each if f]
    return sorted(found, key=lambda f: -LEVELS.index(f.level))


def stall(trajectory: Trajectory, rule: SupervisorConfig) -> Finding | None:
    """No new best for too many candidates, or for too long. Quick and full on the same sources are one candidate."""
    count, minutes = len(visited(trajectory.attempts)), trajectory.minutes
    active = count > 0 or trajectory.conduct.turns > 0
    steps: list[tuple[Level, int]] = [
        ("pause", rule.stall_pause),
        ("restore", rule.stall_restore),
        ("review", rule.stall_review),
        ("nudge", rule.stall_nudge),
    ]
    level = next((name for name, limit in steps if count >= limit), None)
    if level in {None, "nudge"} and minutes >= rule.stall_minutes and active:
        level = "review"
    if level is None and minutes >= rule.stall_minutes / 2 and active:
        level = "nudge"
    if level is None:
        return None
    name = f"no new best for {count} candidates"
    return Finding(
        "stall", level, name, f"{name} and {minutes:.0f} min since {trajectory.best}: {outcomes(trajectory)}"
    )


def cycle(trajectory: Trajectory, rule: SupervisorConfig) -> Finding | None:
    """The same sources scored again and again, sources that alternate, or one direction begun again and again."""
    visits = visited(trajectory.attempts)
    if period := alternates([h for h, _ in visits]):
        names = ", ".join(f"a{n}" for _, n in visits[-period:])
        return Finding("cycle", "review", f"{period} candidates alternate", f"{PERIODS} rounds of the same {names}")
    hashes = Counter(h for h, _ in visits)
    source, seen = hashes.most_common(1)[0] if hashes else ("", 0)
    if level := _level(seen - 1, rule.repeats_nudge, rule.repeats_review):
        attempts = ", ".join(f"a{a.attempt}" for a in trajectory.attempts if a.source_hash == source)
        return Finding("cycle", level, f"the same sources scored {seen} times", f"{source[:10]}: {attempts}")
    direction, begun = Counter(trajectory.pursued).most_common(1)[0] if trajectory.pursued else ("", 0)
    if level := _level(begun - 1, rule.repeats_nudge, rule.repeats_review):
        return Finding("cycle", level, f"direction {direction} begun {begun} times", "without a new best")
    return None


def failures(trajectory: Trajectory, rule: SupervisorConfig) -> Finding | None:
    """Candidates that fail one after the other."""
    failed: list[Attempt] = []
    for attempt in reversed(trajectory.attempts):
        if attempt.correct:
            break
        failed.append(attempt)
    level = _level(len(failed), rule.failures_nudge, rule.failures_review)
    if level is None:
        return None
    stages = ", ".join(f"{n} {stage}" for stage, n in Counter(a.stage for a in failed).most_common())
    last = f"the last: a{failed[0].attempt} {failed[0].stage}: {failed[0].reason[:200]}"
    return Finding("failures", level, f"{len(failed)} failures in a row", f"{stages}; {last}")


def conduct(trajectory: Trajectory, rule: SupervisorConfig) -> Finding | None:
    """What the operator does between candidates: the gravest sign of going in circles."""
    found = sorted(signs(trajectory.conduct, rule), key=lambda s: -LEVELS.index(s.level))
    return Finding("conduct", found[0].level, found[0].name, "; ".join(_told(s) for s in found)) if found else None


def _told(sign: Sign) -> str:
    return f"{sign.name} ({sign.evidence})"


def visited(attempts: Sequence[Attempt]) -> list[tuple[str, int]]:
    """(sources, attempt) each time the run came to some sources. Quick then full on the same ones is one visit."""
    visits: list[tuple[str, int]] = []
    stay = 0
    for attempt in attempts:
        stay = stay + 1 if visits and visits[-1][0] == attempt.source_hash else 1
        if stay % 2 == 1:
            visits.append((attempt.source_hash, attempt.attempt))
    return visits


def alternates(hashes: Sequence[str]) -> int | None:
    """The period, 2 or 3, when the sequence ends in three rounds of the same distinct members."""
    for period in (2, 3):
        last = list(hashes[-PERIODS * period :])
        unit = last[:period]
        if len(last) == PERIODS * period and len(set(unit)) == period and last == unit * PERIODS:
            return period
    return None


def outcomes(trajectory: Trajectory) -> str:
    """What became of the attempts, in a few words."""
    words = Counter(a.verdict or ("scored" if a.correct else a.stage) for a in trajectory.attempts)
    near = [a for a in trajectory.attempts if a.ratio is not None]
    best = max(near, key=lambda a: a.ratio or 0.0, default=None)
    nearest = f"; nearest a{best.attempt} {best.name} at {best.ratio:.3f}x" if best is not None else ""
    return ", ".join(f"{n} {word}" for word, n in words.most_common()) + nearest


def _level(count: int, nudge: int, review: int) -> Level | None:
    return "review" if count >= review else "nudge" if count >= nudge else None
