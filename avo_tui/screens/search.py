"""Search: everything that ever happened in the run, by words. Enter goes there."""

from __future__ import annotations

import asyncio
import sqlite3
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, cast

from textual import events
from textual.app import ComposeResult
from textual.containers import Vertical
from textual.screen import ModalScreen
from textual.widgets import Input

from avo_tui.model import show
from avo_tui.model.lines import Line, Row, left, one_line, spread
from avo_tui.model.snapshot import Snapshot
from avo_tui.model.view import View
from avo_tui.widgets.pane import Pane
from engine.record.errors import AvoError
from engine.record.reader import Hit, Reader

if TYPE_CHECKING:
    from avo_tui.app import AvoApp

LIMIT = 200
PAUSE_S = 0.15  # between letters, before it looks
_ROLES = {"attempt": "head", "version": "accent", "gate": "info", "said": "", "alert": "warn", "intervention": "super",
          "command": "you", "direction": "you", "tool_started": "tool", "tool_finished": "tool"}  # fmt: skip


class Hits(Pane):
    """What was found, the best first."""

    title = "Search"
    can_focus = False
    hits: Sequence[Hit] = ()
    said: Line = (("type words; every one must occur", "dim"),)

    def build(self, snapshot: Snapshot, view: View) -> list[Row]:
        """A row for each hit."""
        rows = [Row(self._line(h, snapshot, view.width), h.seq) for h in self.hits]
        return rows or [Row((("  ", ""), *self.said))]

    def _line(self, hit: Hit, s: Snapshot, width: int) -> Line:
        clock = time.strftime("%H:%M", time.localtime(hit.at))
        kind = left(f" {hit.kind.replace('tool_', 'tool ')}", 15)
        tail: Line = ((f" {clock} {show.age(s.taken_at - hit.at):>4} ", "quiet"),)
        return spread(((kind, _ROLES.get(hit.kind, "dim")), (one_line(hit.title), "")), tail, width)

    def alive(self) -> bool:
        """Its choice always shows."""
        return True

    def badge(self) -> Line:
        """How many."""
        return (
            ((show.count(len(self.hits), "hit") + ("+" if len(self.hits) == LIMIT else ""), "dim"),)
            if self.hits
            else ()
        )


class Search(ModalScreen[int]):
    """Dismisses with the event to go to, or None."""

    DEFAULT_CSS = """
    Search { align: center middle; }
    Search > Vertical { width: 110; max-width: 96%; height: 80%; border: round $accent;
        background: $background; border-title-color: $accent; border-title-style: bold; }
    Search Input { height: 1; border: none; padding: 0 1; background: $surface; }
    Search Input:focus { border: none; background: $surface; }
    Search Pane { height: 1fr; }
    """

    found = ""  # the words that the hits belong to

    def compose(self) -> ComposeResult:
        """An input over a list."""
        with Vertical() as box:
            box.border_title = " Search the whole run "
            field = Input(placeholder="words, in any order", compact=True)
            field.cursor_blink = False
            yield field
            pane = Hits("hits")
            pane.snapshot = cast("AvoApp", self.app).snapshot
            yield pane

    def on_input_changed(self, event: Input.Changed) -> None:
        """Look again, once the letters pause."""
        self.run_worker(self._look(event.value), exclusive=True, exit_on_error=False)

    async def _look(self, text: str) -> None:
        await asyncio.sleep(PAUSE_S)
        pane = self.query_one(Hits)
        try:
            pane.hits = await asyncio.to_thread(self._find, text)
            self.found = text
            pane.said = (("nothing has these words" if text.strip() else "type words; every one must occur", "dim"),)
        except (AvoError, sqlite3.Error) as error:
            pane.hits, pane.said = (), ((str(error), "bad"),)
        pane.cursor, pane.placed_by_hand, pane.top = None, False, 0
        pane.reload()

    def _find(self, text: str) -> list[Hit]:
        with Reader(cast("AvoApp", self.app).folder.journal) as reader:
            return reader.search(text, limit=LIMIT)

    def on_input_submitted(self) -> None:
        """Enter goes to the one under the cursor."""
        chosen = self.query_one(Hits).cursor
        self.dismiss(chosen if isinstance(chosen, int) else None)

    def on_key(self, event: events.Key) -> None:
        """Move in the list, or leave."""
        moves = {"up": -1, "down": 1}
        if event.key in moves:
            event.stop()
            self.query_one(Hits).move(moves[event.key])
        elif event.key in ("pageup", "pagedown"):
            event.stop()
            self.query_one(Hits).page(-1 if event.key == "pageup" else 1)
        elif event.key == "escape":
            event.stop()
            self.dismiss(None)

    def on_pane_opened(self, message: Pane.Opened) -> None:
        """Picked with the mouse."""
        self.dismiss(message.key if isinstance(message.key, int) else None)
