"""Help: the key table, laid out to read; and lists to pick from, like the command palette."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, cast

from textual.app import ComposeResult
from textual.binding import Binding
from textual.screen import ModalScreen

from avo_tui.keys import Key
from avo_tui.model.lines import EMPTY, Line, Row, fit
from avo_tui.model.snapshot import Snapshot
from avo_tui.model.view import View
from avo_tui.widgets.pane import Pane

if TYPE_CHECKING:
    from avo_tui.app import AvoApp

_NOTES = (
    "A small letter only looks; a capital acts on the run. q leaves, and the run goes on.",
    "▲ better or an alert   ▼ worse   ≈ within the noise   ✓ ✗ passed, failed   ● kept   ○ withdrawn",
)


def help_rows(keys: Sequence[Key], width: int, *, readonly: bool) -> list[Row]:
    """Every key under its group, in two columns where there is room."""
    groups: dict[str, list[Line]] = {}
    for key in keys:
        if key.label.isdigit() and key.label not in "01":
            continue
        off = readonly and key.acts
        line: Line = ((f" {key.label:<12} ", "dim" if off else "key"), (key.help, "dim" if off else ""))
        groups.setdefault(key.group, []).append(line)
    blocks = [[((f" {name}", "strong"),), *lines, EMPTY] for name, lines in groups.items()]
    if width < 116:
        lines = [line for block in blocks for line in block]
    else:
        half = (width - 2) // 2
        left = [line for block in blocks[:2] for line in block]
        right = [line for block in blocks[2:] for line in block]
        high = max(len(left), len(right))
        pairs = zip(left + [EMPTY] * (high - len(left)), right + [EMPTY] * (high - len(right)), strict=True)
        lines = [(*fit(a, half), ("  ", ""), *b) for a, b in pairs]
    return [Row(EMPTY), *(Row(((" " + note, "dim"),)) for note in _NOTES), Row(EMPTY), *(Row(line) for line in lines)]


class HelpPane(Pane):
    """The table."""

    title = "Help"
    keys: Sequence[Key] = ()

    def build(self, snapshot: Snapshot, view: View) -> list[Row]:
        """The key table."""
        return help_rows(self.keys, view.width, readonly=self.avo.readonly)

    def badge(self) -> Line:
        """How to leave."""
        return (("Esc", "key"), (" back", "dim"))


class Help(ModalScreen[None]):
    """Fills the screen; any way back closes it."""

    BINDINGS = [  # noqa: RUF012
        Binding("escape,question_mark,q,enter", "dismiss(None)", show=False),
        Binding("j,down", "move(1)", show=False),
        Binding("k,up", "move(-1)", show=False),
        Binding("ctrl+d,pagedown,space", "page(1)", show=False),
        Binding("ctrl+u,pageup", "page(-1)", show=False),
        Binding("g,home", "page(-99)", show=False),
        Binding("G,end", "page(99)", show=False),
    ]

    def __init__(self, keys: Sequence[Key]) -> None:
        super().__init__()
        self.keys = keys

    def compose(self) -> ComposeResult:
        """One pane."""
        pane = HelpPane("help-pane")
        pane.keys = self.keys
        pane.snapshot = cast("AvoApp", self.app).snapshot
        yield pane

    def action_move(self, by: int) -> None:
        """Scroll."""
        self.query_one(HelpPane).scroll_rows(by)

    def action_page(self, by: int) -> None:
        """Half a page."""
        pane = self.query_one(HelpPane)
        pane.scroll_rows(by * max(pane.inner_height // 2, 1))
