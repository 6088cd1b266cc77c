"""The panes that are tables or plots: each is one function of the moment and the view."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Hashable, Sequence

from avo_tui.model import context, steering, table, trajectory, tree, tries
from avo_tui.model.lines import EMPTY, Line, Row, join
from avo_tui.model.snapshot import Snapshot
from avo_tui.model.view import View
from avo_tui.widgets.pane import Pane
from engine.record.reader import Attempt

PAUSE_S = 0.15  # between letters, before the whole run is looked through


class TablePane(Pane):
    """A pane whose rows `source` computes; `orders` names what `o` cycles through."""

    source: Callable[[Snapshot, View], Sequence[Row]]
    orders: tuple[str, ...] = ()

    def build(self, snapshot: Snapshot, view: View) -> Sequence[Row]:
        """The rows."""
        return type(self).source(snapshot, view)

    def badge(self) -> Line:
        """The order, where it is not the usual one, and the filter."""
        order = self.view.order % len(self.orders) if self.orders else 0
        named: Line = ((self.orders[order], "info"),) if order else EMPTY
        return join((named, super().badge()), ("  ", ""))


class Scores(TablePane):
    """Configurations by seed, best, last attempt and baselines."""

    title, number, orders = "Scores", 1, table.ORDERS
    source = staticmethod(table.table)
    uses = ("versions", "incumbent", "last", "baselines")


class Trajectory(TablePane):
    """The best version against the baselines."""

    title, number, orders = "Trajectory", 3, ("over versions", "over time")
    source = staticmethod(trajectory.trajectory)
    uses = ("versions", "baselines", "ended_at")


class Versions(TablePane):
    """The tree of versions."""

    title, number = "Versions", 3
    source = staticmethod(tree.tree)
    uses = ("versions", "incumbent")


class Supervisor(TablePane):
    """Alerts and interventions."""

    title, number = "Supervisor", 5
    source = staticmethod(steering.supervisor)
    uses = ("all_alerts", "alerts", "interventions")

    def badge(self) -> Line:
        """How many alerts are open."""
        n = len(self.snapshot.open_alerts) if self.snapshot else 0
        return join((((f"▲ {n} open", "warn"),) if n else EMPTY, super().badge()), ("  ", ""))


class Commands(TablePane):
    """Every command and its life."""

    title, number = "Commands", 5
    source = staticmethod(steering.commands)
    uses = ("commands", "lookers")

    def badge(self) -> Line:
        """Who else may send some."""
        others = ", ".join(self.snapshot.company) if self.snapshot else ""
        told: Line = (("with ", "dim"), (others, "you")) if others else EMPTY
        return join((told, super().badge()), ("  ", ""))


class Attempts(TablePane):
    """Everything that was evaluated: the newest at first, older ones as one scrolls to them or looks for words."""

    title, number, orders = "Attempts", 6, tries.ORDERS
    uses = ("tries",)

    def __init__(self, id: str) -> None:
        super().__init__(id=id)
        self.older: tuple[Attempt, ...] = ()
        self.found: tuple[Attempt, ...] = ()
        self._sought = ""

    def build(self, snapshot: Snapshot, view: View) -> Sequence[Row]:
        """The rows: the moment's own, those loaded beyond it, and what was found."""
        if snapshot.tries and self.older and snapshot.tries[0].attempt <= self.older[0].attempt:
            self.older = ()  # a moment of the past
        return tries.attempts(snapshot, view, self.older, self.found if view.filter else ())

    def key(self, i: int) -> Hashable | None:
        """Known before the row is made."""
        rows = self.rows
        return rows.keys[i] if isinstance(rows, tries.Rows) else super().key(i)

    def look(self, view: View) -> None:
        """Another filter is looked for in the whole run, diffs included, once the letters pause."""
        super().look(view)
        if view.filter != self._sought:
            self._sought, self.found = view.filter, ()
            if view.filter.strip() and not view.filter.startswith("!"):
                self.run_worker(self._seek(view.filter), exclusive=True, exit_on_error=False)

    async def _seek(self, text: str) -> None:
        await asyncio.sleep(PAUSE_S)
        found = await self.avo.attempts_with(text)
        if text == self.view.filter:
            self.found = tuple(found)
            self.reload()

    def move(self, by: int) -> None:
        """Beyond the last row lie older attempts."""
        place, rows = self.place(), self.count()
        if by > 0 and place is not None and place + by >= rows and not self.view.filter:
            self.load_older()
        super().move(by)

    def load_older(self) -> None:
        """Load a page of attempts before the first known one."""
        known = (*self.older, *(self.snapshot.tries if self.snapshot else ()))
        if known and known[0].attempt > 0:
            self.older = (*self.avo.attempts_before(known[0].attempt), *self.older)
            self.reload()

    def badge(self) -> Line:
        """With a filter, how many there are."""
        shown: Line = ((f"{len(self.selectable()):,} of all ", "dim"),) if self.view.filter else EMPTY
        return join((shown, super().badge()), ("", ""))


class Context(TablePane):
    """Host, plan, directions, knowledge in use, notes."""

    title, number = "Context", 7
    source = staticmethod(context.context)
    uses = ("directions", "plan", "pages", "notes", "load", "state", "here")
