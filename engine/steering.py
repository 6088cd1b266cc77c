"""Steering: a person's commands, from seen to applied or refused, each exactly once.

One rule: a command's effect and its new state are one journal transaction, so a killed engine has either
done both or neither. Words take effect as they arrive; what moves the run waits for the boundary.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Literal, Protocol

from engine import budget
from engine.answers import Directive
from engine.inbox import Inbox, person_direction
from engine.lineage import Lineage
from engine.record import events as ev
from engine.record.commands import Command, check_direction
from engine.record.config import Limits
from engine.record.errors import AvoError, Refused
from engine.record.journal import Journal
from engine.record.reader import Reader

AT_ONCE = frozenset({"direct", "acknowledge", "pin", "veto", "limits", "cancel"})
URGENT = frozenset({"interrupt"})
REASON = {"pause": "paused by", "interrupt": "interrupted by", "stop": "stopped by"}


class Course(Protocol):
    """What steering moves: the state of the search loop."""

    paused: bool
    stop_reason: str
    limits: Limits

    def interrupt(self, reason: str) -> None:
        """Stop what runs now."""
        ...

    def moved(self, version: int) -> None:
        """The head was moved: the workspace follows."""
        ...


class Steering:
    """Reads commands and answers each. `poll` may run at any time, `boundary` only between turns."""

    def __init__(self, journal: Journal, reader: Reader, lineage: Lineage, inbox: Inbox, course: Course) -> None:
        self._journal, self._reader, self._lineage = journal, reader, lineage
        self._inbox, self._course = inbox, course
        self._interrupted: set[int] = set()

    def poll(self) -> None:
        """Mark new commands seen, apply those that need no boundary, and interrupt when asked."""
        for command in self._open():
            if command.state == "sent":
                self._journal.answer(_fact(command, "seen"))
            if command.verb in AT_ONCE:
                self._apply(command)
            elif command.verb in URGENT and command.command not in self._interrupted:
                self._interrupted.add(command.command)
                self._course.interrupt(f"{command.person} interrupted")

    def boundary(self) -> None:
        """Apply whatever waits, in the order in which it was sent."""
        self.poll()
        for command in self._open():
            self._apply(command)

    def _open(self) -> list[Command]:
        return self._reader.commands(states=("sent", "seen"), limit=1000)

    def _apply(self, command: Command) -> None:
        act = _VERBS.get(command.verb)
        try:
            if act is None:
                raise Refused(f"this engine does not know {command.verb!r}")
            facts, reason, then = act(self, command)
        except (AvoError, KeyError, TypeError, ValueError) as error:
            why = str(error) if isinstance(error, AvoError) else f"its arguments make no sense: {error!r}"
            self._journal.answer(_fact(command, "refused", why))
            return
        self._journal.answer(_fact(command, "applied", reason), *facts)
        if then is not None:
            then()

    # --- each verb: (facts, reason, what to do once they are written) ---------------------

    def _pause(self, command: Command) -> Outcome:
        if self._course.paused:
            raise Refused("the run is paused already")
        reason = f"{REASON[command.verb]} {command.person}"

        def then() -> None:
            self._course.paused = True

        return [ev.StateChanged("paused", reason)], "", then

    def _resume(self, command: Command) -> Outcome:
        if not self._course.paused and self._waits():
            return [], "waits no longer", None
        if not self._course.paused:
            raise Refused("the run is not paused")

        def then() -> None:
            self._course.paused = False

        return [ev.StateChanged("running", f"resumed by {command.person}")], "", then

    def _waits(self) -> bool:
        """Whether the engine sits out a rate limit or a lost connection."""
        last = self._reader.tail(1, kinds=("waited",))
        waited = last[-1].event() if last else None
        return isinstance(waited, ev.Waited) and time.time() < last[-1].at + waited.seconds

    def _stop(self, command: Command) -> Outcome:
        if self._course.stop_reason:
            raise Refused("the run is stopping already")

        def then() -> None:
            self._course.stop_reason = f"{REASON[command.verb]} {command.person}"

        return [ev.StateChanged("stopping", f"asked by {command.person}")], "", then

    def _direct(self, command: Command) -> Outcome:
        text = check_direction(str(command.arguments.get("text", "")))
        directive = Directive(person_direction(command.command), "person", text, command.command)
        return [self._inbox.put(directive)], "waits for the operator's next turn", None

    def _rollback(self, command: Command) -> Outcome:
        version = _number(command, "version")
        target, head = self._reader.version(version), self._reader.head()
        if target is None:
            raise Refused(f"there is no v{version}; 'avo versions' lists those there are")
        if version == head:
            raise Refused(f"v{version} is the incumbent already")
        if not target.active:
            raise Refused(f"v{version} was withdrawn by an earlier rollback; 'avo undo' takes that one back")
        self._fresh(command, ("head",))
        assert head is not None
        return self._move(command, head, version, "rollback")

    def _undo(self, command: Command) -> Outcome:
        last = self._reader.undoable()
        if last is None:
            raise Refused("there is no rollback to undo")
        self._fresh(command, ("head", "version"))
        head = self._reader.head()
        assert head is not None
        return self._move(command, head, last[0], "undo")

    def _move(self, command: Command, head: int, version: int, cause: str) -> Outcome:
        self._lineage.move_head(version)
        fact = ev.HeadMoved(head, version, "undo" if cause == "undo" else "rollback", command.command)
        return [fact], f"the incumbent is v{version}", lambda: self._course.moved(version)

    def _fresh(self, command: Command, kinds: tuple[str, ...]) -> None:
        """Refuse what was asked while looking at a lineage that somebody else has changed since.

        What the same person asked before it is no surprise: a rollback may wait a minute for its boundary, and its
        undo be typed meanwhile.
        """
        mine = {c.command for c in self._reader.commands(limit=1000) if c.person == command.person}
        for entry in self._reader.events(command.issued_seq, kinds=kinds) if command.issued_seq else ():
            fact = entry.event()
            if not (isinstance(fact, ev.HeadMoved) and fact.command in mine):
                raise Refused(f"the lineage changed after you looked ({entry.title}); look again, then repeat it")

    def _acknowledge(self, command: Command) -> Outcome:
        number = _number(command, "alert")
        found = next((a for a in self._reader.alerts() if a.alert == number), None)
        if found is None:
            raise Refused(f"there is no alert {number}")
        if found.closed_at is not None:
            raise Refused(f"alert {number} was closed by {found.closed_by} already")
        return [ev.AlertClosed(number, command.person, "acknowledged")], "", None

    def _mark(self, command: Command) -> Outcome:
        direction = str(command.arguments["direction"])
        if self._inbox.name(direction) is None:
            raise Refused(f"there is no direction {direction!r}")
        state = "pinned" if command.verb == "pin" else "vetoed"
        if direction in (self._inbox.pinned if state == "pinned" else self._inbox.vetoed):
            raise Refused(f"{direction!r} is {state} already")
        return [self._inbox.mark(direction, state, f"by {command.person}")], "", None

    def _limits(self, command: Command) -> Outcome:
        limits = budget.changed(self._course.limits, command.arguments)
        # The meta row first: applying the same limits twice after a crash changes nothing.
        self._journal.set_meta("limits", budget.stored(limits))
        self._course.limits = limits
        named = ", ".join(f"{k} {'none' if v is None else v}" for k, v in command.arguments.items())
        return [], f"limits: {named}", None

    def _cancel(self, command: Command) -> Outcome:
        number = _number(command, "command")
        why = f"cancelled by {command.person}"
        direction = person_direction(number)
        if self._inbox.waiting(direction):
            name = self._inbox.name(direction) or direction
            fact = ev.DirectionChanged(direction, name, "person", "withdrawn", why)
            return [fact], "the direction is withdrawn", lambda: self._inbox.withdraw(direction)
        target = next((c for c in self._open() if c.command == number and number != command.command), None)
        if target is None:
            raise Refused(f"command {number} is not waiting any more")
        return [_fact(target, "refused", why)], "", None


Outcome = tuple[list[ev.Event], str, Callable[[], None] | None]

_VERBS: dict[str, Callable[[Steering, Command], Outcome]] = {
    "pause": Steering._pause,
    "interrupt": Steering._pause,
    "resume": Steering._resume,
    "stop": Steering._stop,
    "direct": Steering._direct,
    "rollback": Steering._rollback,
    "undo": Steering._undo,
    "acknowledge": Steering._acknowledge,
    "pin": Steering._mark,
    "veto": Steering._mark,
    "limits": Steering._limits,
    "cancel": Steering._cancel,
}


def _fact(command: Command, state: Literal["seen", "applied", "refused"], reason: str = "") -> ev.CommandChanged:
    return ev.CommandChanged(command.command, command.verb, state, command.person, reason)


def _number(command: Command, name: str) -> int:
    value = command.arguments.get(name)
    if isinstance(value, bool) or not isinstance(value, int):
        raise Refused(f"{command.verb} needs a number: {name}")
    return value
