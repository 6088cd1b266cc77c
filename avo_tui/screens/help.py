"""Help: the key table, laid out to read; and lists to pick from, like the command palette."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, cast

from rich.cells import cell_len
from textual.app import ComposeResult
from textual.binding import Binding
from textual.screen import ModalScreen

from avo_tui.keys import Key
from avo_tui.model.lines import EMPTY, Line, Row, fit, wrap
from avo_tui.model.snapshot import Snapshot
from avo_tui.model.view import View
from avo_tui.widgets.pane import Pane

if TYPE_CHECKING:
    from avo_tui.app import AvoApp

_NOTES = (
    ("A small letter only looks; a capital acts on the run.", "q leaves, and the run goes on."),
    ("▲ better or an alert", "▼ worse", "≈ within the noise", "✓ ✗ passed, failed", "● kept", "○ withdrawn"),
)
_TEXT = 14  # where a key's text begins


def help_rows(keys: Sequence[Key], width: int, offers: Callable[[Key], bool] = lambda _: True) -> list[Row]:
    """Every key under its group, in two columns where there is room; what would do nothing now is dimmed."""
    groups: dict[str, list[Line]] = {}
    half = (width - 2) // 2 if width >= 116 else width
    for key in keys:
        if key.label.isdigit() and key.label not in "01":
            continue
        off = not offers(key)
        first, *more = wrap(key.help, half - _TEXT)
        line: Line = ((f" {key.label:<12} ", "dim" if off else "key"), (first, "dim" if off else ""))
        rest = [((" " * _TEXT + text, "dim" if off else ""),) for text in more]
        groups.setdefault(key.group, []).extend([line, *rest])
    blocks = [[((f" {name}", "strong"),), *lines, EMPTY] for name, lines in groups.items()]
    if half == width:
        lines = [line for block in blocks for line in block]
    else:
        left = [line for block in blocks[:2] for line in block]
        right = [line for block in blocks[2:] for line in block]
        high = max(len(left), len(right))
        pairs = zip(left + [EMPTY] * (high - len(left)), right + [EMPTY] * (high - len(right)), strict=True)
        lines = [(*fit(a, half), ("  ", ""), *b) for a, b in pairs]
    notes = [line for note in _NOTES for line in _filled(note, width - 2)]
    return [Row(EMPTY), *(Row(((f" {note}", "dim"),)) for note in notes), Row(EMPTY), *(Row(line) for line in lines)]


def _filled(parts: Sequence[str], width: int) -> list[str]:
    """Parts in as few lines as hold them, none broken."""
    lines = [parts[0]]
    for part in parts[1:]:
        if cell_len(lines[-1]) + 3 + cell_len(part) <= width:
            lines[-1] += f"   {part}"
        else:
            lines.append(part)
    return lines


class HelpPane(Pane):
    """The table."""

    title = "Help"
    keys: Sequence[Key] = ()

    def build(self, snapshot: Snapshot, view: View) -> list[Row]:
        """The key table."""
        return help_rows(self.keys, view.width, self.avo.offers)

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
