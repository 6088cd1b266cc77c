"""The panes that are tables or plots: each is one function of the moment and the view."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from avo_tui.model import context, steering, table, trajectory, tree, tries
from avo_tui.model.lines import EMPTY, Line, Row, join
from avo_tui.model.snapshot import Snapshot
from avo_tui.model.view import View
from avo_tui.widgets.pane import Pane


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
    uses = ("commands",)


class Attempts(TablePane):
    """Everything that was evaluated."""

    title, number, orders = "Attempts", 6, tries.ORDERS
    source = staticmethod(tries.attempts)
    uses = ("tries",)


class Context(TablePane):
    """Host, plan, directions, knowledge in use, notes."""

    title, number = "Context", 7
    source = staticmethod(context.context)
    uses = ("directions", "plan", "pages", "notes", "load", "state", "here")
