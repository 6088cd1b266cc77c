"""Dialogs: asking before something is done. Cancel has the focus, and keys count only after half a second.

Someone who types on while a dialog appears must not answer it by accident.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, cast

from textual.app import ComposeResult
from textual.binding import Binding
from textual.containers import Horizontal, Vertical
from textual.screen import ModalScreen
from textual.widgets import Button, Input

from avo_tui.model.lines import Line
from avo_tui.widgets.lines import Lines

if TYPE_CHECKING:
    from avo_tui.app import AvoApp


class Dialog(ModalScreen[Any]):
    """A titled box with lines, perhaps an input, and Cancel beside what it is about.

    `confirm` are the texts of which one must be typed; none means the button alone.
    Dismisses with True, or None when it was cancelled.
    """

    DEFAULT_CSS = """
    Dialog { align: center middle; }
    Dialog > Vertical {
        width: 76; max-width: 96%; height: auto; max-height: 96%; padding: 0 1;
        border: round $accent; background: $background; border-title-color: $accent; border-title-style: bold;
    }
    Dialog Horizontal { height: 1; margin: 1 0 0 0; align-horizontal: right; }
    Dialog Button { margin: 0 0 0 2; }
    Dialog Input { height: 1; border: none; padding: 0 1; background: $surface; }
    Dialog Input:focus { border: none; background: $surface; }
    """
    # Tab has priority: the focus then moves before the next key of a burst is looked at, as they come over a bad line.
    BINDINGS = [  # noqa: RUF012
        Binding("escape", "cancel", "Cancel", show=False),
        Binding("tab", "app.focus_next", show=False, priority=True),
        Binding("shift+tab", "app.focus_previous", show=False, priority=True),
    ]
    AUTO_FOCUS = None

    title_text = ""
    verb = "OK"

    def __init__(self, lines: Sequence[Line], *, title: str = "", verb: str = "", confirm: Sequence[str] = ()) -> None:
        super().__init__()
        self.lines = lines
        self.title_text = title or self.title_text
        self.verb = verb or self.verb
        self.confirm = tuple(confirm)
        self._ready = False

    @property
    def avo(self) -> AvoApp:
        """The app."""
        return cast("AvoApp", self.app)

    def compose(self) -> ComposeResult:
        """The box."""
        with Vertical() as box:
            box.border_title = self.title_text
            yield Lines(self.lines, id="text")
            yield Lines([(("a moment…", "quiet"),)], id="asks")
            if self.confirm:
                field = Input(id="typed", compact=True, disabled=True)
                field.cursor_blink = False
                yield field
            with Horizontal():
                yield Button("Cancel", id="cancel", compact=True, disabled=True)
                yield Button(self.verb, id="do", compact=True, variant="error", disabled=True)

    def _asks(self) -> Line:
        if not self.confirm:
            return (("Tab, Enter", "key"), (f" {self.verb.lower()}  ", "dim"), ("Esc", "key"), (" cancel", "dim"))
        named: list[tuple[str, str]] = []
        for text in self.confirm:
            named += [(" or " if named else "", "dim"), (text, "strong")]
        return (("Tab, then type ", "dim"), *named, (" to confirm:", "dim"))

    def on_mount(self) -> None:
        """Wake up after the grace."""
        self.set_timer(self.avo.grace_s, self._wake)

    def _wake(self) -> None:
        self._ready = True
        for widget in self.query("Button, Input"):
            widget.disabled = widget.id == "do" and bool(self.confirm)
        self.set_focus(self.query_one("#cancel"))
        for asks in self.query("#asks").results(Lines):
            asks.set([self._asks()])
        self.woke()

    def woke(self) -> None:
        """For subclasses: keys count from now on."""

    def on_input_changed(self, event: Input.Changed) -> None:
        """The button comes alive when the right text was typed."""
        if event.input.id == "typed":
            self.query_one("#do", Button).disabled = event.value.strip() not in self.confirm

    def on_input_submitted(self, event: Input.Submitted) -> None:
        """Enter after the right text does it."""
        if event.input.id == "typed" and event.value.strip() in self.confirm:
            self.accept()

    def on_button_pressed(self, event: Button.Pressed) -> None:
        """A button."""
        if event.button.id == "do":
            self.accept()
        else:
            self.dismiss(None)

    def accept(self) -> None:
        """It was confirmed."""
        self.dismiss(True)

    def action_cancel(self) -> None:
        """Escape."""
        self.dismiss(None)


class Notice(ModalScreen[None]):
    """A titled box with lines; any of the usual ways closes it."""

    DEFAULT_CSS = """
    Notice { align: center middle; }
    Notice > Vertical {
        width: 90; max-width: 96%; height: auto; max-height: 96%; padding: 1 2;
        border: round $accent; background: $background; border-title-color: $accent; border-title-style: bold;
    }
    """
    BINDINGS = [Binding("escape,enter,space,q,a", "dismiss(None)", show=False)]  # noqa: RUF012

    def __init__(self, lines: Sequence[Line], title: str) -> None:
        super().__init__()
        self.lines, self.title_text = lines, title

    def compose(self) -> ComposeResult:
        """The box."""
        with Vertical() as box:
            box.border_title = self.title_text
            yield Lines([*self.lines, (), (("Enter", "key"), (" close", "dim"))], id="text")
