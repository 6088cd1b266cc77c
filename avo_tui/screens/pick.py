"""Pick: a list to choose from by typing a few letters. The command palette is one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, cast

from textual import events
from textual.app import ComposeResult
from textual.containers import Vertical
from textual.screen import ModalScreen
from textual.widgets import Input

from avo_tui.keys import Key
from avo_tui.model.lines import Line, Row, left
from avo_tui.model.snapshot import Snapshot
from avo_tui.model.view import View
from avo_tui.widgets.pane import Pane

if TYPE_CHECKING:
    from avo_tui.app import AvoApp


def matches(word: str, text: str) -> bool:
    """Whether the letters of `word` occur in `text` in this order."""
    letters = iter(text.lower())
    return all(letter in letters for letter in word.lower() if not letter.isspace())


class _List(Pane):
    """The actions that match."""

    title = "Actions"
    can_focus = False
    choices: Sequence[Key] = ()
    typed = ""

    def build(self, snapshot: Snapshot, view: View) -> list[Row]:
        """A row for each action: those that would do something now first, exact words before mere letters."""
        found = [k for k in self.choices if matches(self.typed, f"{k.help} {k.id}")]
        found.sort(key=lambda k: (not self.avo.offers(k), self.typed.lower() not in f"{k.help} {k.id}".lower()))
        return [Row(self._line(k, view.width), k.id) for k in found] or [Row((("  no such action", "dim"),))]

    def _line(self, key: Key, width: int) -> Line:
        off = not self.avo.offers(key)
        return ((left(f" {key.label}", 14), "dim" if off else "key"), (key.help, "dim" if off else ""))

    def alive(self) -> bool:
        """Its choice always shows."""
        return True


class Palette(ModalScreen[str]):
    """Dismisses with the chosen action's id."""

    DEFAULT_CSS = """
    Palette { align: center middle; }
    Palette > Vertical { width: 90; max-width: 96%; height: 24; max-height: 96%; border: round $accent;
        background: $background; border-title-color: $accent; border-title-style: bold; }
    Palette Input { height: 1; border: none; padding: 0 1; background: $surface; }
    Palette Input:focus { border: none; background: $surface; }
    Palette Pane { height: 1fr; }
    """

    def __init__(self, keys: Sequence[Key]) -> None:
        super().__init__()
        self.keys = keys

    def compose(self) -> ComposeResult:
        """An input over a list."""
        with Vertical() as box:
            box.border_title = " What to do "
            field = Input(placeholder="type a few letters", compact=True)
            field.cursor_blink = False
            yield field
            pane = _List("palette-list")
            pane.choices = self.keys
            pane.snapshot = cast("AvoApp", self.app).snapshot
            yield pane

    def on_input_changed(self, event: Input.Changed) -> None:
        """Fewer actions."""
        pane = self.query_one(_List)
        pane.typed, pane.cursor, pane.top = event.value, None, 0
        pane.reload()

    def on_input_submitted(self) -> None:
        """Enter takes the one under the cursor."""
        self.dismiss(str(self.query_one(_List).cursor or ""))

    def on_key(self, event: events.Key) -> None:
        """Move in the list, or leave."""
        if event.key in ("up", "down"):
            event.stop()
            self.query_one(_List).move(-1 if event.key == "up" else 1)
        elif event.key == "escape":
            event.stop()
            self.dismiss("")

    def on_pane_opened(self, message: Pane.Opened) -> None:
        """Picked with the mouse."""
        self.dismiss(str(message.key))
