"""What was learned: the outcome of every trial, derived from the journal alone, so that a resumed run knows it too.

A trial is one candidate of one direction on one parent. Its quick and its full evaluation are the same trial.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import field, replace
from typing import Literal

from engine.pairing import blurred
from engine.record.frozen import dataclass
from engine.record.reader import Attempt, Reader, Version
from engine.record.scores import Score, geomean

Outcome = Literal["improved", "matched", "regressed", "incorrect"]
REREAD = 16
_RATIO = re.compile(r"(?P<ratio>\d+\.\d+)x of v(?P<version>\d+)")


@dataclass(frozen=True, slots=True)
class Trial:
    """One candidate's story. `ratio` is the gate's, else `seen`: the recorded scores' against the parent's.

    `outcome` is None for a trial that was begun and never concluded. `blurred` when the machine was too busy for
    the gate to tell.
    """

    attempt: int
    direction: str
    parent: int
    source_hash: str
    outcome: Outcome | None
    ratio: float | None
    seen: float | None
    version: int | None
    reason: str
    blurred: bool = False

    @property
    def glanced(self) -> bool:
        """Dropped on a glance: correct, and never seen by the gate."""
        return self.outcome == "regressed" and self.ratio is None


@dataclass(frozen=True, slots=True)
class Learned:
    """The state of knowledge at one moment: trials in their order, the head, and which versions are active.

    `pursued` counts how often each direction was begun.
    """

    trials: tuple[Trial, ...] = ()
    head: int = 0
    active: frozenset[int] = frozenset({0})
    pursued: Mapping[str, int] = field(default_factory=dict)

    def of(self, direction: str) -> list[Trial]:
        """The trials of one direction, oldest first."""
        return [t for t in self.trials if t.direction == direction]

    def with_sources(self, source_hash: str) -> list[Trial]:
        """The trials of exactly these sources, oldest first."""
        return [t for t in self.trials if t.source_hash == source_hash]

    def commits_since(self, version: int) -> int:
        """How many active versions came after a version."""
        return sum(v > version for v in self.active)

    def trials_since(self, attempt: int) -> int:
        """How many trials came after an attempt."""
        return sum(t.attempt > attempt for t in self.trials)

    def optimism(self) -> float:
        """How much better candidates look in `evaluate` than in the gate's pairs, on the incumbent's own account.

        The incumbent's recorded score may stem from a noisy moment; then everything seems to beat it.
        """
        pairs = [t.seen / t.ratio for t in self.trials if t.parent == self.head and t.seen and t.ratio]
        return max(geomean(pairs[-5:]) or 1.0, 1.0)


class Memory:
    """Reads the journal into `Learned`, and only what is new of it."""

    def __init__(self) -> None:
        self._trials: dict[tuple[str, int, str], Trial] = {}
        self._versions: dict[int, Version] = {}
        self._seen = 0

    def recall(self, reader: Reader) -> Learned:
        """What is known now."""
        self._versions = {v.version: v for v in reader.versions()}
        count = reader.counts()[1]
        for attempt in reader.attempts(limit=max(count - self._seen, 0) + REREAD):
            if attempt.parent is not None:
                self._take(reader, attempt)
        self._seen = count
        directions = reader.directions()
        told = {d.direction: (d.state, d.why) for d in directions}
        trials = sorted((_told(t, *told.get(t.direction, ("", ""))) for t in self._trials.values()), key=_by_attempt)
        active = frozenset(v.version for v in self._versions.values() if v.active)
        return Learned(tuple(trials), reader.head() or 0, active, {d.direction: d.tried for d in directions})

    def _take(self, reader: Reader, attempt: Attempt) -> None:
        assert attempt.parent is not None
        key = (attempt.direction, attempt.parent, attempt.source_hash)
        before = self._trials.get(key)
        if before is not None and before.attempt == attempt.attempt and attempt.verdict is None:
            return
        seen = before.seen if before else None
        if attempt.correct and (seen is None or attempt.verdict is None):
            seen = self._compared(reader, attempt) or seen
        outcome: Outcome = "regressed" if attempt.correct else "incorrect"
        if attempt.verdict in ("improved", "matched", "regressed", "incorrect"):
            outcome = attempt.verdict  # type: ignore[assignment]
        self._trials[key] = Trial(
            attempt.attempt,
            *key,
            outcome=outcome,
            ratio=attempt.ratio,
            seen=seen,
            version=attempt.version,
            reason=attempt.reason,
            blurred=outcome == "regressed" and blurred(attempt.low, attempt.high),
        )

    def _compared(self, reader: Reader, attempt: Attempt) -> float | None:
        parent, score = self._versions.get(attempt.parent or 0), reader.attempt_score(attempt.attempt)
        return compare(score, parent.score) if parent and score else None


def compare(score: Score, against: Score) -> float | None:
    """The geometric mean of the throughput ratios over the configurations that both vectors hold."""
    pairs = [(c.tflops, against.of(c.name)) for c in score.configurations]
    ratios = [own / other.tflops for own, other in pairs if own and other is not None and other.tflops]
    return geomean(ratios)


def _told(trial: Trial, state: str, why: str) -> Trial:
    """A trial that the gate never saw, with what was said when it ended: the ratio side by side, or nothing yet.

    A direction that is still being pursued was never concluded: the engine died in the middle of it.
    """
    if trial.outcome != "regressed" or trial.ratio is not None:
        return trial
    if state == "pursued":
        return replace(trial, outcome=None)
    said = _RATIO.search(why)
    if said is None or int(said["version"]) != trial.parent:
        return trial
    return replace(trial, seen=float(said["ratio"]))


def _by_attempt(trial: Trial) -> int:
    return trial.attempt
