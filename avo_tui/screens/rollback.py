"""The roll-back dialog: where to, what it withdraws, what it changes, and a typed confirmation."""

from __future__ import annotations

import asyncio

from textual.binding import Binding
from textual.widgets import Button, Input

from avo_tui.model import show
from avo_tui.model.lines import Line, clip_text
from avo_tui.model.snapshot import Snapshot
from avo_tui.screens.dialog import Dialog
from avo_tui.widgets.lines import Lines
from engine.record.errors import AvoError
from engine.record.reader import Version


def targets(s: Snapshot) -> list[Version]:
    """Versions that the head can go back to: its ancestors, the newest first."""
    return [v for v in reversed(s.active) if v.version != s.head]


def describe(s: Snapshot, target: Version, stat: list[Line]) -> list[Line]:
    """What rolling back to `target` does."""
    gone = [v for v in s.active if v.version > target.version]
    unit = show.unit_for([v.geomean_tflops for v in s.active])
    now = s.incumbent.geomean_tflops if s.incumbent else None
    change = target.geomean_tflops / now - 1 if target.geomean_tflops and now else None
    names = " ".join(f"v{v.version}" for v in reversed(gone))
    return [
        (("from ", "dim"), (f"v{s.head}", "accent"), ("  back to  ", "dim"), (f"v{target.version}", "accent"),
         (f"  {clip_text(target.name, 44)}", ""), ("  ↑ ↓", "key")),
        (("geomean ", "dim"), (f"{unit.text(now)} → {unit.full(target.geomean_tflops)} ", "strong"),
         (show.percent(change), "bad" if change and change < -0.0005 else "dim")),
        (("withdraws ", "dim"), (clip_text(names, 60), "")),
        (("nothing is lost: withdrawn versions stay, and Z takes the roll-back back", "dim"),),
        (),
        *stat,
    ]  # fmt: skip


class Rollback(Dialog):
    """Dismisses with the version to go back to."""

    BINDINGS = [  # noqa: RUF012
        Binding("up", "target(-1)", show=False),
        Binding("down", "target(1)", show=False),
    ]

    def __init__(self, snapshot: Snapshot, target: Version) -> None:
        self.snapshot = snapshot
        self.choices = targets(snapshot)
        self.place = next(i for i, v in enumerate(self.choices) if v.version == target.version)
        super().__init__((), title=" Roll back ", verb="Roll back", confirm=self._words())
        self.lines = describe(snapshot, self.target, [(("reading the diff…", "dim"),)])

    @property
    def target(self) -> Version:
        """Where to."""
        return self.choices[self.place]

    def _words(self) -> tuple[str, str]:
        return (f"v{self.target.version}", self.target.commit[:7])

    def on_mount(self) -> None:
        """Read the diffstat beside."""
        super().on_mount()
        self._choose()

    def action_target(self, by: int) -> None:
        """An older or a newer target."""
        if not self._ready:
            return
        self.place = max(0, min(self.place + by, len(self.choices) - 1))
        self.confirm = self._words()
        self.query_one("#asks", Lines).set([self._asks()])
        typed = self.query_one("#typed", Input)
        self.query_one("#do", Button).disabled = typed.value.strip() not in self.confirm
        self._choose()

    def _choose(self) -> None:
        self.query_one("#text", Lines).set(describe(self.snapshot, self.target, [(("reading the diff…", "dim"),)]))
        self.run_worker(self._stat(self.target), exclusive=True, exit_on_error=False)

    async def _stat(self, target: Version) -> None:
        stat = await asyncio.to_thread(self._read_stat, target)
        if target is self.target:
            self.query_one("#text", Lines).set(describe(self.snapshot, target, stat))

    def _read_stat(self, target: Version) -> list[Line]:
        from engine.lineage import Lineage

        head = self.snapshot.head
        if head is None:
            return []
        try:
            changes = Lineage(self.avo.folder.lineage).diffstat(head, target.version)
        except AvoError as error:
            return [((clip_text(f"no diff: {error}", 72), "warn"),)]
        lines: list[Line] = []
        for change in changes[:8]:
            figures: Line = (("binary", "dim"),) if change.added is None else (
                (f"+{change.added} ", "good"), (f"−{change.removed}", "bad"))  # fmt: skip
            lines.append(((f"{clip_text(change.path, 50)}  ", ""), *figures))
        more = len(changes) - 8
        return [*lines, ((f"and {more} more files", "dim"),)] if more > 0 else lines or [(("the same sources", "dim"),)]

    def accept(self) -> None:
        """Confirmed."""
        self.dismiss(self.target.version)
