"""Conduct: what an operator does between two candidates, and whether that goes in circles.

One rule: only what must answer the same again counts as a repetition. Scoring, waiting for a job and whatever
follows an edit do not, nor does a fault of the scorer or a call that the person cut short. The figures are
configuration (SupervisorConfig).
"""

from __future__ import annotations

import hashlib
import json
import re
from collections import deque
from collections.abc import Mapping, Sequence
from typing import Any

from engine.record import events as ev
from engine.record.config import SupervisorConfig
from engine.record.events import Level
from engine.record.frozen import dataclass
from engine.record.reader import Reader

KINDS = ("tool_started", "tool_finished", "said", "spent", "epoch", "attempt")
REMEMBERED, READ_AT_START = 60, 400
ERRORS_OF = 20
PERIODS = 3
_WORK = frozenset({"write", "edit", "evaluate", "submit", "profile"})
_CHANGING = frozenset({"write", "edit"})
# Calls whose answer is meant to change, or that the cycle detector judges by the sources they score.
_EXEMPT = frozenset({"job", "evaluate", "submit", "profile", "plan", "notes", "say", "acknowledge"})
_NOT_ITS_FAULT = ("interrupted: ", "the scorer failed (not the candidate)")
_FLEETING = (
    (re.compile(r"0x[0-9a-fA-F]+"), "ADDRESS"),
    (re.compile(r"\b\d{1,2}:\d{2}(:\d{2})?(\.\d+)?\b"), "TIME"),
    (re.compile(r"\d+\.\d+(e[-+]?\d+)?"), "NUMBER"),
    (re.compile(r"\b(pid|process)[ =:]*\d+", re.I), "PROCESS"),
    (re.compile(r"/tmp/[\w./-]+"), "FILE"),  # noqa: S108 a name in a text, not a file of ours
)


@dataclass(frozen=True, slots=True)
class Deed:
    """One finished tool call. `key` names the tool, its arguments and the edits before it; `seen` the answer."""

    seq: int
    turn: int
    what: str
    key: str
    seen: str
    ok: bool


@dataclass(frozen=True, slots=True)
class Conduct:
    """What there is to judge since the last reset.

    `deeds` oldest first; `idle`: turns since the last edit or measurement; `talk`: replies in a row without a tool;
    `epochs`: conversations begun since a candidate was last scored; `turns`: how many there were in all.
    """

    deeds: tuple[Deed, ...] = ()
    idle: int = 0
    talk: int = 0
    epochs: int = 0
    turns: int = 0


@dataclass(frozen=True, slots=True)
class Sign:
    """One way in which the conduct is wrong: how far it goes, in a few words, and the evidence."""

    level: Level
    name: str
    evidence: str


def signs(conduct: Conduct, rule: SupervisorConfig) -> list[Sign]:
    """Everything that is wrong with it."""
    found = (
        repeats(conduct.deeds, rule),
        circles(conduct.deeds),
        errors(conduct.deeds, rule),
        _counted(conduct.idle, rule.idle_nudge, rule.idle_review, "turns without an edit or a measurement"),
        _counted(conduct.talk, rule.talk_review, rule.talk_review, "replies in a row without a tool call"),
        _counted(conduct.epochs, rule.epochs_review, rule.epochs_review, "conversations without a new candidate"),
    )
    return [sign for sign in found if sign is not None]


def repeats(deeds: Sequence[Deed], rule: SupervisorConfig) -> Sign | None:
    """The same call with the same answer, again and again. One that fails has less patience: one time fewer."""
    count = 0
    for deed in reversed(deeds):
        if (deed.key, deed.seen) != (deeds[-1].key, deeds[-1].seen):
            break
        count += 1
    level = _level(count, rule.calls_nudge, rule.calls_review - (bool(deeds) and not deeds[-1].ok))
    if level is None:
        return None
    how = "the same answer" if deeds[-1].ok else "the same error"
    return Sign(level, f"the same call {count} times in a row", f"{deeds[-1].what}, {how}")


def circles(deeds: Sequence[Deed]) -> Sign | None:
    """Two or three calls that take turns, each with the same answer as before."""
    for period in (2, 3):
        last = [(d.key, d.seen) for d in deeds[-PERIODS * period :]]
        unit = last[:period]
        if len(last) == PERIODS * period and len(set(unit)) == period and last == unit * PERIODS:
            names = "; ".join(d.what for d in deeds[-period:])
            return Sign("review", f"{period} calls take turns", f"{PERIODS} rounds of the same answers: {names}")
    return None


def errors(deeds: Sequence[Deed], rule: SupervisorConfig) -> Sign | None:
    """Most of the last calls failed."""
    failed = [d for d in deeds[-ERRORS_OF:] if not d.ok]
    if len(failed) < rule.errors_review:
        return None
    return Sign("review", f"{len(failed)} of the last {ERRORS_OF} calls failed", f"the last: {failed[-1].what}")


def _counted(count: int, nudge: int, review: int, what: str) -> Sign | None:
    level = _level(count, nudge, review)
    return None if level is None else Sign(level, f"{count} {what}", f"{count} in a row")


def _level(count: int, nudge: int, review: int) -> Level | None:
    """How far up the ladder: what goes on after a review is restored at twice its figure, and paused at thrice."""
    steps: tuple[tuple[Level, int], ...] = (
        ("pause", 3 * review),
        ("restore", 2 * review),
        ("review", review),
        ("nudge", nudge),
    )
    return next((name for name, limit in steps if count >= limit), None)


class Witness:
    """Gathers the conduct from the journal, reading each event once."""

    def __init__(self, reader: Reader) -> None:
        self._reader = reader
        first = reader.tail(READ_AT_START, kinds=KINDS)
        self._after = first[0].seq - 1 if first else 0
        self._deeds: deque[Deed] = deque(maxlen=REMEMBERED)
        self._turns_at: deque[int] = deque(maxlen=READ_AT_START)
        self._begun: dict[str, ev.ToolStarted] = {}
        self._reset = self._turn = -1
        self._idle = self._talk = self._epochs = self._turns = self._edits = 0
        self._replied = False

    def conduct(self, reset: int) -> Conduct:
        """Everything since a sequence number; counting begins anew when it moves."""
        if reset != self._reset:
            first, self._reset = self._reset == -1, reset
            if not first:
                self._idle = self._talk = self._epochs = self._turns = 0
        self._read()
        deeds = tuple(d for d in self._deeds if d.seq > reset)
        return Conduct(deeds, self._idle, self._talk, self._epochs, self._turns)

    def turns_since(self, seq: int) -> int:
        """How many turns began after an event."""
        return sum(at > seq for at in self._turns_at)

    def _read(self) -> None:
        while entries := self._reader.events(self._after, kinds=KINDS):
            self._after = entries[-1].seq
            for entry in entries:
                self._fold(entry.seq, entry.event())

    def _fold(self, seq: int, event: ev.Event) -> None:
        if isinstance(event, ev.ToolStarted):
            self._start(seq, event)
        elif isinstance(event, ev.ToolFinished):
            self._finish(seq, event)
        elif isinstance(event, ev.Spent):
            self._replied = event.what == "turn"
        elif isinstance(event, ev.Said) and self._replied:
            self._replied = False
            self._talk += 1
            self._next_turn(seq, event.turn)
        elif isinstance(event, ev.EpochBegan):
            self._epochs += event.epoch > 1
        elif isinstance(event, ev.AttemptScored):
            self._epochs = 0

    def _start(self, seq: int, event: ev.ToolStarted) -> None:
        self._begun[event.call] = event
        self._talk, self._replied = 0, False
        self._next_turn(seq, event.turn)
        if event.tool in _WORK or _restores(event):
            self._idle = 0

    def _next_turn(self, seq: int, turn: int) -> None:
        if turn != self._turn:
            self._turn = turn
            self._turns_at.append(seq)
            self._turns += 1
            self._idle += 1

    def _finish(self, seq: int, event: ev.ToolFinished) -> None:
        begun = self._begun.pop(event.call, None)
        if begun is None or event.text.startswith(_NOT_ITS_FAULT):
            return
        if event.ok and (event.tool in _CHANGING or _restores(begun)):
            self._edits += 1
        elif event.tool not in _EXEMPT:
            asked = json.dumps([event.tool, dict(begun.arguments), self._edits], sort_keys=True, default=str)
            what = f"{event.tool} {ev.summary_of(begun.arguments, 80)}".rstrip()
            self._deeds.append(Deed(seq, begun.turn, what, _digest(asked), _digest(steady(event.text)), event.ok))


def _restores(event: ev.ToolStarted) -> bool:
    arguments: Mapping[str, Any] = event.arguments
    return event.tool == "lineage" and arguments.get("action") == "restore"


def steady(text: str) -> str:
    """An answer without what differs from one time to the next: times, addresses, processes, measured figures."""
    for pattern, name in _FLEETING:
        text = pattern.sub(name, text)
    return text


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "replace")).hexdigest()[:16]
