"""Which direction next: a pure function of the catalogue, the sources, the facts and what was learned.

Each possible direction has a value, log(1 + expected gain) / effort; evidence multiplies the gain. A direction
that is not possible says why, so that a person can be told.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import field
from typing import Any

from engine.operators.playbook import edits
from engine.operators.playbook.catalogue import Catalogue, Direction
from engine.operators.playbook.conditions import check
from engine.operators.playbook.memory import Learned, Trial
from engine.record.frozen import dataclass

RETRY_AFTER = 3  # commits, before what did not pay is worth a second look
RETRY_GAIN = 0.01
RETRY_FROM = 0.9  # a ratio below this is no near miss
TRIES = 2
AGAIN_TRIES, MUCH = 3, 1.15  # before the end, what promised this much is tried so often
PATIENT_TRIES = 12  # at the very end, while the machine was too busy for a plain word on it
BLURRED_AFTER, BLURRED_TRIES = 2, 3  # what a busy machine left open is asked again soon
WITHDRAWN = 0.25  # what a person rolled back comes late


@dataclass(frozen=True, slots=True)
class Scene:
    """What a choice looks at: the incumbent's sources, the facts, what was learned, what is forbidden.

    `repeats` maps directions whose result was measured already, under another name, to where. `again` when nothing
    else is left: what promised much and failed gets another look, on another incumbent or after a mere glance.
    `patient` when even the parameter search is done: what promised much and never had a plain verdict gets one.
    """

    sources: Mapping[str, str]
    facts: Mapping[str, Any]
    learned: Learned
    vetoed: frozenset[str] = frozenset()
    repeats: Mapping[str, str] = field(default_factory=dict)
    again: bool = False
    patient: bool = False


@dataclass(frozen=True, slots=True)
class Assessment:
    """A direction's worth now. `barred` says why it is not possible; `evidence` what its value rests on."""

    direction: Direction
    value: float
    gain: float
    barred: str = ""
    evidence: tuple[str, ...] = ()

    @property
    def possible(self) -> bool:
        """Whether it can be tried."""
        return not self.barred


def all_facts(facts: Mapping[str, Any], sources: Mapping[str, str]) -> dict[str, Any]:
    """The session's facts, and the sources' parameters as `parameter.kName`."""
    from engine.operators.playbook.conditions import value_of

    found: dict[str, Any] = {f"parameter.{k}": value_of(v) for k, v in edits.parameters(sources).items()}
    return {**found, **facts}


def choose(catalogue: Catalogue, scene: Scene, wanted: Sequence[str] = ()) -> list[Assessment]:
    """The possible directions, best first; those in `wanted` (a supervisor's) come before all others."""
    possible = [a for a in (assess(d, scene) for d in catalogue.directions) if a.possible]
    rank = {name: n for n, name in enumerate(wanted)}
    return sorted(possible, key=lambda a: (rank.get(a.direction.id, len(rank)), -a.value))


def assess(direction: Direction, scene: Scene, *, asked: bool = False) -> Assessment:
    """What a direction is worth here. When a person asks for it, its failures of the past do not bar it."""
    barred = _forbidden(direction, scene) or _unmet(direction, scene) or _unfit(direction, scene)
    trials = scene.learned.of(direction.id)
    if not barred and not asked:
        again, patient = (asked_for and direction.expects >= MUCH for asked_for in (scene.again, scene.patient))
        spent = "" if patient and _open(trials, scene.learned) else _spent(trials, scene.learned, again=again)
        barred = scene.repeats.get(direction.id, "") or spent
    if barred:
        return Assessment(direction, 0.0, 0.0, barred)
    gain, evidence = _gain(direction, scene, trials)
    return Assessment(direction, math.log1p(gain) / direction.effort, gain, "", evidence)


def _forbidden(direction: Direction, scene: Scene) -> str:
    return "it was vetoed; pin it to allow it again" if direction.id in scene.vetoed else ""


def _unmet(direction: Direction, scene: Scene) -> str:
    for condition in direction.requires.facts:
        truth = check(condition, scene.facts)
        if not truth.holds:
            return f"it needs {condition.text}, and {truth.found}"
    text = "\n".join(scene.sources.values())
    for pattern in direction.requires.contains:
        if not pattern.search(text):
            return f"it builds on something the incumbent does not have ({pattern.pattern})"
    for pattern in direction.requires.lacks:
        if pattern.search(text):
            return f"the incumbent has it already, or its opposite ({pattern.pattern})"
    for name in direction.requires.after:
        if name not in scene.repeats and not any(t.outcome is not None for t in scene.learned.of(name)):
            return f"{name} comes first and was not tried yet"
    return ""


def _unfit(direction: Direction, scene: Scene) -> str:
    edited = edits.apply(scene.sources, direction.edits)
    if edited.sources is None:
        return f"its edits do not fit the incumbent: {edited.reason}"
    return "" if edits.changed(scene.sources, edited.sources) else "the incumbent has it already"


def _spent(trials: Sequence[Trial], learned: Learned, *, again: bool) -> str:
    """Why its past bars a direction, or ""."""
    if not trials or trials[-1].outcome is None:
        return ""
    last = trials[-1]
    if last.version is not None:
        return f"it is in the incumbent since v{last.version}" if last.version in learned.active else ""
    tries = max(len(trials), learned.pursued.get(last.direction, 0))
    if again and tries < AGAIN_TRIES and (last.parent != learned.head or last.glanced):
        return ""
    if last.outcome == "incorrect":
        return f"a{last.attempt} was not correct: {last.reason}"
    ratio = last.ratio or last.seen or 0.0
    told = f"a{last.attempt} on v{last.parent} gave {ratio:.3f}x"
    if last.blurred and ratio > 1.0 and tries <= BLURRED_TRIES:
        waits = BLURRED_AFTER - learned.trials_since(last.attempt)
        return f"{told} on a machine too busy to tell; again after {waits} other trials" if waits > 0 else ""
    if tries >= TRIES:
        return f"{told}, and it was tried {tries} times"
    if ratio < RETRY_FROM:
        return told
    waits = RETRY_AFTER - learned.commits_since(last.parent)
    return f"{told}; a second look after {waits} more commits" if waits > 0 else ""


def _open(trials: Sequence[Trial], learned: Learned) -> bool:
    """Whether no gate said plainly what a direction is worth, however often it was tried."""
    if not trials or max(len(trials), learned.pursued.get(trials[-1].direction, 0)) >= PATIENT_TRIES:
        return False
    return trials[-1].glanced or trials[-1].blurred


def _gain(direction: Direction, scene: Scene, trials: Sequence[Trial]) -> tuple[float, tuple[str, ...]]:
    gain, evidence = direction.expects - 1.0, [f"a prior of {direction.expects:.2f}x"]
    for boost in direction.boosts:
        truth = check(boost.when, scene.facts)
        if truth.holds:
            gain *= boost.factor
            evidence.append(f"{truth.found} (gain x{boost.factor:g})")
    if trials and trials[-1].outcome is not None:
        last = trials[-1]
        ratio = last.ratio or last.seen or 1.0
        if last.version is not None:
            gain = max(ratio - 1.0, 0.0) * WITHDRAWN
            evidence.append(f"it was v{last.version} at {ratio:.3f}x, which was rolled back")
        elif last.blurred:
            gain = max(ratio - 1.0, gain / 2)
            evidence.append(f"a{last.attempt} gave {ratio:.3f}x on a machine too busy to prove it")
        elif scene.again:
            gain /= 2 * len(trials)
            evidence.append(f"nothing else is left, and a{last.attempt} on v{last.parent} need not be the last word")
        else:
            gain = RETRY_GAIN
            commits = scene.learned.commits_since(last.parent)
            evidence.append(f"a second look: {ratio:.3f}x on v{last.parent}, {commits} commits ago")
    return gain, tuple(evidence)
