"""The inbox: directions on their way to the operator, and what became of each.

One rule: a direction's life is its events. The inbox is rebuilt from the journal, so a crash neither
loses a direction nor gives it twice to the same operator.
"""

from __future__ import annotations

from collections.abc import Sequence

from engine.answers import Directive
from engine.record import events as ev
from engine.record.journal import Journal
from engine.record.reader import Reader

WAITING = ("sent", "seen")
NAME_LIMIT = 80


class Inbox:
    """Directions from the person and the supervisor that wait for the operator."""

    def __init__(self, journal: Journal, reader: Reader) -> None:
        self._journal = journal
        self._waiting: dict[str, Directive] = {}
        self._taken: dict[str, Directive] = {}
        self._known: dict[str, str] = {}
        self._vetoed: set[str] = set()
        self._pinned: list[str] = []
        self._fold(reader)

    @property
    def vetoed(self) -> frozenset[str]:
        """Directions that the person forbids."""
        return frozenset(self._vetoed)

    @property
    def pinned(self) -> tuple[str, ...]:
        """Directions that the person wants first."""
        return tuple(self._pinned)

    def name(self, direction: str) -> str | None:
        """A known direction's name, or None."""
        return self._known.get(direction)

    @property
    def open(self) -> frozenset[str]:
        """Ids of directions that the operator has not taken yet."""
        return frozenset(self._waiting)

    def waiting(self, direction: str) -> bool:
        """Whether the operator has not taken it yet."""
        return direction in self._waiting

    def put(self, directive: Directive) -> ev.DirectionChanged:
        """Queue a direction; the caller writes the fact."""
        self._waiting[directive.id] = directive
        self._known[directive.id] = _name(directive.text)
        return ev.DirectionChanged(
            directive.id,
            _name(directive.text),
            directive.source,
            "sent",
            directive.text,
            directions=directive.directions,
        )

    def withdraw(self, direction: str) -> None:
        """Take back a direction that the operator has not taken; the caller writes the fact."""
        self._waiting.pop(direction, None)

    def take(self, turn: int) -> list[Directive]:
        """Hand over what waits, marked seen at this turn."""
        taken, self._waiting = list(self._waiting.values()), {}
        facts = [ev.DirectionChanged(d.id, _name(d.text), d.source, "seen", turn=turn) for d in taken]
        if facts:
            self._journal.append(*facts)
        self._taken.update((d.id, d) for d in taken)
        return taken

    def answer(self, direction: str, *, obeyed: bool, words: str, turn: int) -> None:
        """The operator's answer to a direction that it took."""
        if directive := self._taken.pop(direction, None):
            state = "obeyed" if obeyed else "declined"
            fact = ev.DirectionChanged(direction, _name(directive.text), directive.source, state, words, turn)
            self._journal.append(fact)

    def offer(self, directions: Sequence[tuple[str, str, str]], source: ev.Source) -> None:
        """Make directions known; those known already are left alone."""
        fresh = [d for d in directions if d[0] not in self._known]
        facts = [ev.DirectionChanged(i, name, source, "offered", why) for i, name, why in fresh]
        if facts:
            self._journal.append(*facts)
        self._known.update((i, name) for i, name, _ in fresh)

    def mark(self, direction: str, state: str, why: str) -> ev.DirectionChanged:
        """Pin or veto a direction; the caller writes the fact. Each undoes the other.

        One that waits is not handed over once it is vetoed.
        """
        self._apply(direction, state)
        return ev.DirectionChanged(direction, self._known.get(direction, direction), "person", state, why)

    def _apply(self, direction: str, state: str) -> None:
        if state == "vetoed":
            self._vetoed.add(direction)
            self._waiting.pop(direction, None)
        if state in {"vetoed", "pinned"} and direction in self._pinned:
            self._pinned.remove(direction)
        if state == "pinned":
            self._vetoed.discard(direction)
            self._pinned.append(direction)

    def _fold(self, reader: Reader) -> None:
        after = 0
        while entries := reader.events(after, kinds=("direction",)):
            after = entries[-1].seq
            for entry in entries:
                fact = entry.event()
                if isinstance(fact, ev.DirectionChanged):
                    self._replay(fact)

    def _replay(self, fact: ev.DirectionChanged) -> None:
        self._known[fact.direction] = fact.name
        self._apply(fact.direction, fact.state)
        if fact.state == "sent" and fact.source in ("person", "supervisor"):
            command = command_of(fact.direction)
            directive = Directive(fact.direction, fact.source, fact.why, command, directions=fact.directions)
            self._waiting[fact.direction] = directive
        elif fact.state not in (*WAITING, "pinned"):
            self._waiting.pop(fact.direction, None)


def person_direction(command: int) -> str:
    """The id of the direction that a person's command gave."""
    return f"person-{command}"


def command_of(direction: str) -> int | None:
    """The command behind a person's direction, or None."""
    head, _, number = direction.rpartition("-")
    return int(number) if head == "person" and number.isdigit() else None


def _name(text: str) -> str:
    line = text.strip().splitlines()[0] if text.strip() else ""
    return line if len(line) <= NAME_LIMIT else line[: NAME_LIMIT - 1] + "…"
