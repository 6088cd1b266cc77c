"""The direction editor: several lines, from a file or $EDITOR, with earlier directions to start from.

Nothing is sent before it was seen once more as it will be sent.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, cast

from textual.app import ComposeResult
from textual.binding import Binding
from textual.containers import Vertical
from textual.screen import ModalScreen
from textual.widgets import Input, TextArea

from avo_tui.model import show
from avo_tui.model.lines import Line, join
from avo_tui.widgets.lines import Lines
from engine.record.commands import DIRECTION_LIMIT, check_direction
from engine.record.errors import UsageError

if TYPE_CHECKING:
    from avo_tui.app import AvoApp

_HINTS = (
    ("ctrl+s", "preview"),
    ("ctrl+r", "earlier"),
    ("ctrl+o", "file"),
    ("ctrl+g", "$EDITOR"),
    ("Esc", "cancel"),
)
_WRITE: Line = join((((key, "key"), (f" {word}", "dim")) for key, word in _HINTS), ("  ", ""))
_SEND: Line = (("Enter", "key"), (" send  ", "dim"), ("Esc", "key"), (" edit on", "dim"))


class Direct(ModalScreen[str]):
    """Dismisses with the direction's text, or None."""

    DEFAULT_CSS = """
    Direct { align: center middle; }
    Direct > Vertical {
        width: 90; max-width: 96%; height: 20; max-height: 96%; padding: 0 1;
        border: round $accent; background: $background; border-title-color: $accent; border-title-style: bold;
    }
    Direct TextArea { height: 1fr; border: none; padding: 0; background: $surface; }
    Direct TextArea:focus { border: none; }
    Direct TextArea.-preview { background: $background; }
    Direct Input { height: 1; border: none; padding: 0 1; background: $surface; }
    """
    BINDINGS = [  # noqa: RUF012
        Binding("ctrl+s", "preview", show=False, priority=True),
        Binding("ctrl+r", "recall", show=False, priority=True),
        Binding("ctrl+o", "file", show=False, priority=True),
        Binding("ctrl+g", "editor", show=False, priority=True),
        Binding("escape", "back", show=False, priority=True),
        Binding("enter", "send", show=False, priority=True),
    ]

    def __init__(self, draft: str, earlier: list[str], about: Line) -> None:
        super().__init__()
        self.draft, self.earlier, self.about = draft, earlier, about
        self.previewing = False
        self._recalled = 0

    @property
    def avo(self) -> AvoApp:
        """The app."""
        return cast("AvoApp", self.app)

    @property
    def area(self) -> TextArea:
        """The editor."""
        return self.query_one(TextArea)

    def compose(self) -> ComposeResult:
        """An editor between two lines."""
        with Vertical() as box:
            box.border_title = " Direct the operator "
            yield Lines([self.about], id="about")
            area = TextArea(self.draft, soft_wrap=True, tab_behavior="focus", show_line_numbers=False, compact=True)
            area.cursor_blink = False
            yield area
            field = Input(id="path", placeholder="a file's path; Enter reads it", compact=True)
            field.cursor_blink = False
            field.display = False
            yield field
            yield Lines([self._count(), _WRITE], id="hints")

    def on_mount(self) -> None:
        """Write at the end."""
        self.set_focus(self.area)
        self.area.move_cursor(self.area.document.end)

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """Enter sends only what was previewed; else it is a new line, or reads the file."""
        return self.previewing if action == "send" else True

    def _count(self) -> Line:
        text = self.area.text if self.is_mounted else self.draft
        n = len(text.strip())
        role = "bad" if n > DIRECTION_LIMIT else "dim"
        return ((f"{n:,} characters, {show.count(len(text.strip().splitlines()), 'line')}", role),)

    def on_text_area_changed(self) -> None:
        """Count what is written."""
        self.query_one("#hints", Lines).set([self._count(), _SEND if self.previewing else _WRITE])

    def action_preview(self) -> None:
        """Show what will be sent, once the editor has taken every key that was typed before."""
        self.area.call_later(self._check)

    def _check(self) -> None:
        try:
            text = check_direction(self.area.text)
        except UsageError as error:
            self.query_one("#hints", Lines).set([((str(error), "bad"),), _WRITE])
            return
        self._preview(True)
        self.area.text = text

    def _preview(self, on: bool) -> None:
        self.previewing = on
        self.area.read_only = on
        self.area.set_class(on, "-preview")
        self.query_one(Vertical).border_title = " Send this direction? " if on else " Direct the operator "
        self.query_one("#hints", Lines).set([self._count(), _SEND if on else _WRITE])
        self.refresh_bindings()

    def action_send(self) -> None:
        """Send it."""
        self.dismiss(self.area.text)

    def action_back(self) -> None:
        """Back to writing, or away; the draft is kept for the next time."""
        path = self.query_one("#path", Input)
        if path.display:
            path.display = False
            self.set_focus(self.area)
        elif self.previewing:
            self._preview(False)
        else:
            self.avo.draft = self.area.text
            self.dismiss(None)

    def action_recall(self) -> None:
        """An earlier direction."""
        if self.earlier and not self.previewing:
            self.area.text = self.earlier[self._recalled % len(self.earlier)]
            self.area.move_cursor(self.area.document.end)
            self._recalled += 1

    def action_file(self) -> None:
        """Ask for a file."""
        if not self.previewing:
            path = self.query_one("#path", Input)
            path.display = True
            self.set_focus(path)

    def on_input_submitted(self, event: Input.Submitted) -> None:
        """Read the file."""
        path = Path(event.value.strip()).expanduser()
        try:
            text = path.read_text("utf-8")[: DIRECTION_LIMIT + 1]
        except (OSError, UnicodeDecodeError) as error:
            why = getattr(error, "strerror", None) or "is not text"
            self.query_one("#hints", Lines).set([((f"{path}: {why}", "bad"),), _WRITE])
            return
        event.input.display = False
        self.area.text = text
        self.set_focus(self.area)

    def action_editor(self) -> None:
        """Write it in $EDITOR."""
        if not self.previewing:
            self.area.text = self.avo.edit(self.area.text, "direction.md")
