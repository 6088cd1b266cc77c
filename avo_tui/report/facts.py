"""Facts of a run as its report tells them: read once from the journal, frozen, and all that figures and page know.

One rule: a run of a million attempts costs no more memory than a small one; attempts are read in pages, counted, and
thinned to what a figure can show.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import fields, replace

from avo_tui.summary import Summaries, Summary, ratio
from engine.record.costs import Cost, costs
from engine.record.frozen import dataclass
from engine.record.reader import Alert, Attempt, Direction, Intervention, Reader, Version
from engine.record.scores import Score, geomean, unit_of

PAGE = 2000
MARKS = 3000  # attempts that a figure shows; beyond, every second, third, ... of those that were not kept


@dataclass(frozen=True, slots=True)
class Mark:
    """One attempt on the trajectory. `outcome` is one of OUTCOMES; `version` the one that it became.

    `geomean` is over all configurations. Of an attempt that was scored on some of them it is what follows from its
    ratio to the version that it came from, over the same ones.
    """

    attempt: int
    at_s: float
    geomean: float | None
    outcome: str
    version: int | None
    name: str


OUTCOMES: Mapping[str, str] = {
    "improved": "committed: proven faster",
    "matched": "committed: at least as fast",
    "regressed": "refused: not proven to match",
    "incorrect": "refused: wrong when it was submitted",
    "unsubmitted": "correct, not submitted",
    "failed": "failed to build, run or compute",
}


@dataclass(frozen=True, slots=True)
class Facts:
    """Everything that a report says. Throughputs in TFLOPS, times in seconds."""

    summary: Summary
    marks: tuple[Mark, ...]
    outcomes: Mapping[str, int]
    stages: Mapping[str, int]
    costs: tuple[Cost, ...]
    directions: tuple[Direction, ...]
    interventions: tuple[Intervention, ...]
    alerts: tuple[Alert, ...]

    @property
    def unit(self) -> tuple[float, str]:
        """The one unit of the whole report: (TFLOPS in it, its name)."""
        scores = [*self.summary.baselines.values(), *(v.score for v in self.summary.versions)]
        return unit_of(value for s in scores for value in (s.geomean_tflops, *(c.tflops for c in s.configurations)))

    @property
    def groups(self) -> dict[str, tuple[str, ...]]:
        """The configurations by what they share: `causal_4096` and `causal_8192` are of the group `causal`."""
        found: dict[str, list[str]] = {}
        for row in self.summary.rows():
            found.setdefault(group_of(row.configuration)[0], []).append(row.configuration)
        return {group: tuple(names) for group, names in found.items()}


def group_of(configuration: str) -> tuple[str, str]:
    """A configuration's group and what tells it apart in there: ("causal", "4096")."""
    match = re.fullmatch(r"(.+?)[_-](\d+)", configuration)
    return (match[1].replace("_", " "), match[2]) if match else ("", configuration)


def mean_of(score: Score, names: Sequence[str]) -> float | None:
    """A score's geometric mean over some of its configurations."""
    return geomean([c.tflops if (c := score.of(name)) else None for name in names])


def jumps(versions: Sequence[Version], count: int) -> list[tuple[Version, float]]:
    """The versions that gained most over the best active one before, the largest gains first, the seed left out."""
    best: float | None = None
    found: list[tuple[Version, float]] = []
    for v in versions:
        if v.active and v.geomean_tflops:
            gain = ratio(v.geomean_tflops, best)
            if gain is not None and gain > 1.01:
                found.append((v, v.ratio or gain))
            best = max(best or 0.0, v.geomean_tflops)
    return sorted(found, key=lambda pair: -pair[1])[:count]


def gather(summaries: Summaries) -> Facts:
    """Read a run's journal."""
    reader, summary = summaries.reader, summaries.take()
    outcomes: Counter[str] = Counter()
    stages: Counter[str] = Counter()
    marks: list[Mark] = []
    parents = {v.version: v.score for v in summary.versions}
    step = max(1, summary.attempts // MARKS)
    for n, attempt in enumerate(attempts_of(reader)):
        mark = _mark(attempt, summary.created_at)
        outcomes[mark.outcome] += 1
        stages[attempt.stage] += 1
        if n % step == 0 or mark.version is not None:
            marks.append(replace(mark, geomean=_over_all(reader, attempt, parents)))
    return Facts(
        summary=summary,
        marks=tuple(marks),
        outcomes={name: outcomes[name] for name in OUTCOMES if outcomes[name]},
        stages=dict(stages.most_common()),
        costs=costs(reader),
        directions=tuple(reader.directions()),
        interventions=tuple(reversed(reader.interventions())),
        alerts=tuple(reversed(reader.alerts())),
    )


def attempts_of(reader: Reader) -> Iterator[Attempt]:
    """Every attempt of a run, oldest first."""
    first, done = 0, -1
    _, left = reader.counts()
    while left > 0:
        first += PAGE
        for attempt in reader.attempts(before=first, limit=PAGE):
            if attempt.attempt > done:
                done, left = attempt.attempt, left - 1
                yield attempt


def attempt_columns() -> list[str]:
    """What attempts.csv tells of each."""
    return [f.name for f in fields(Attempt)]


def _over_all(reader: Reader, a: Attempt, versions: Mapping[int, Score]) -> float | None:
    score = reader.attempt_score(a.attempt) if a.correct else None
    parent = versions.get(a.parent) if a.parent is not None else None
    if score is None or parent is None or len(score.configurations) == len(parent.configurations):
        return score.geomean_tflops if score else None
    gain = ratio(score.geomean_tflops, mean_of(parent, [c.name for c in score.configurations]))
    return gain * parent.geomean_tflops if gain and parent.geomean_tflops else None


def _mark(a: Attempt, began: float) -> Mark:
    outcome = a.verdict or ("unsubmitted" if a.correct else "failed")
    return Mark(a.attempt, a.created_at - began, None, outcome, a.version, a.name or a.direction)
