"""Answers: the plain values that pass between the engine, its operators and its tools.

One rule: they hold no behaviour, so that everything above may know them and they know nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import field
from typing import Any, Literal

from engine.record import events as ev
from engine.record.frozen import dataclass
from engine.record.scores import Score


class Exhausted(Exception):
    """The operator has nothing left to try; the message says why. The run finishes."""


class Interrupted(Exception):
    """A person wants what runs now to stop at once. Tidy up and let it pass; the engine then pauses or stops."""


@dataclass(frozen=True, slots=True)
class ToolResult:
    """A tool's answer. `text` is for a reader, `data` for code, `log` a file under artifacts/ or empty."""

    ok: bool
    text: str
    data: Mapping[str, Any] = field(default_factory=dict)
    log: str = ""


@dataclass(frozen=True, slots=True)
class Directive:
    """A direction given to the operator. `command` is the person's command; None when the supervisor speaks.

    `directions` holds the ids of offered directions that the supervisor names, most wanted first.
    """

    id: str
    source: Literal["person", "supervisor"]
    text: str
    command: int | None = None
    level: str = ""
    directions: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Evaluation:
    """What `evaluate` found. `earlier` lists attempts that had exactly these sources.

    `paired_ratio` is the candidate beside the incumbent in a round or two of the quick suite: a hint, no verdict.
    """

    attempt: int
    score: Score
    diff: str
    log: str = ""
    earlier: tuple[int, ...] = ()
    paired_ratio: float | None = None


@dataclass(frozen=True, slots=True)
class Variant:
    """One of several candidates to evaluate side by side: a folder of the workspace with all of its sources.

    `name` says in a few words what differs; `direction` is the direction it belongs to when not the one pursued.
    """

    folder: str
    name: str = ""
    hypothesis: str = ""
    direction: str = ""


@dataclass(frozen=True, slots=True)
class Submission:
    """The gate's word on what was submitted. `version` is None unless it was committed."""

    attempt: int
    verdict: ev.Verdict
    reason: str
    ratio: float | None = None
    low: float | None = None
    high: float | None = None
    rounds: int = 0
    version: int | None = None


@dataclass(frozen=True, slots=True)
class Profile:
    """A profile: `text` for reading, `facts` to decide by (flat names to numbers, booleans, words)."""

    source_hash: str
    text: str
    facts: Mapping[str, Any]
    log: str = ""


@dataclass(frozen=True, slots=True)
class Pursuit:
    """The direction now pursued."""

    id: str
    name: str
    source: ev.Source
    why: str = ""
