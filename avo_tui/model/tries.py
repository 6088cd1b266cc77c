"""The attempts: everything that was evaluated, kept or not, newest first."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from typing import overload

from avo_tui.model import show
from avo_tui.model.lines import Line, Row, clip_text, left, one_line, right
from avo_tui.model.snapshot import Snapshot
from avo_tui.model.tree import VERDICTS
from avo_tui.model.view import View
from engine.record.reader import Attempt

ORDERS = ("newest first", "fastest first")


class Rows(Sequence[Row]):
    """Rows that are made when they are looked at: of hundreds a pane shows few. Their keys are known before."""

    def __init__(self, keys: Sequence[Hashable], make: Callable[[int], Line]) -> None:
        self.keys = keys
        self._make = make
        self._made: dict[int, Row] = {}

    def __len__(self) -> int:
        return len(self.keys)

    @overload
    def __getitem__(self, i: int) -> Row: ...
    @overload
    def __getitem__(self, i: slice) -> Sequence[Row]: ...
    def __getitem__(self, i: int | slice) -> Row | Sequence[Row]:
        if isinstance(i, slice):
            return [self[j] for j in range(*i.indices(len(self)))]
        i = range(len(self.keys))[i]
        row = self._made.get(i)
        if row is None:
            row = self._made[i] = Row(self._make(i), self.keys[i])
        return row


def attempts(s: Snapshot, view: View, older: Sequence[Attempt] = (), found: Sequence[Attempt] = ()) -> Sequence[Row]:
    """A row for each attempt; keys are ("attempt", number).

    `older` ones were loaded beyond the snapshot's, `found` ones have what the filter says, perhaps in their diff.
    """
    if not s.tries:
        return [Row((("  nothing was evaluated yet", "dim"),))]
    known = {a.attempt: a for a in (*older, *s.tries)}
    unit = show.unit_for([a.geomean_tflops for a in known.values()])
    wide = max(len(unit.text(a.geomean_tflops)) for a in known.values())
    wanted = {n: a for n, a in known.items() if not view.filter or view.wants(text_of(a))}
    wanted |= {a.attempt: known.get(a.attempt, a) for a in found}
    shown = [wanted[n] for n in sorted(wanted, reverse=True)]
    if view.order % len(ORDERS) == 1:
        shown.sort(key=lambda a: -(a.geomean_tflops or 0.0))
    if not shown:
        return [Row((("  no attempt matches the filter", "dim"),))]

    def line(i: int) -> Line:
        a = shown[i]
        return _line(s, a, view.width, right(unit.text(a.geomean_tflops), wide))

    return Rows([("attempt", a.attempt) for a in shown], line)


def text_of(a: Attempt) -> str:
    """What the filter looks through."""
    kept = f"v{a.version}" if a.version is not None else "rejected"
    return f"a{a.attempt} {a.name} {a.stage} {a.verdict or ''} {a.reason} {kept} {a.hypothesis}"


def outcome(a: Attempt) -> tuple[str, str]:
    """How an attempt ended, with a mark, and its role."""
    if not a.correct:
        return f"✗ {a.stage}", "bad"
    if a.verdict is None:
        return "· measured", "dim"
    mark, role = VERDICTS.get(a.verdict, ("·", "dim"))
    return f"{mark} {a.verdict}", role


def _line(s: Snapshot, a: Attempt, width: int, figure: str) -> Line:
    text, role = outcome(a)
    kept = f"v{a.version}" if a.version is not None else ""
    ago = right(show.age(s.taken_at - a.created_at), 5)
    head: Line = (
        (left(f" a{a.attempt}", 7), "dim"),
        (left(text, 12), role),
        (figure, "" if a.correct else "dim"),
        (right(show.ratio(a.ratio, 3) if a.ratio else "", 8) + " ", role if a.ratio else "dim"),
        (left(kept, 4), "accent"),
    )
    room = width - sum(len(t) for t, _ in head) - len(ago) - 1
    why = f"{one_line(a.name)}" + (f"  {one_line(a.reason)}" if not a.correct else "")
    if room < 4:
        return head
    name = clip_text(one_line(a.name), room)
    rest = clip_text(why[len(one_line(a.name)) :], room - len(name)) if len(name) < room else ""
    pad = " " * max(room - len(name) - len(rest), 0)
    return (*head, (" " + name, ""), (rest, "dim"), (pad + ago, "dim"))
