"""The prompt: one line at the bottom where a filter, a place to go or a command is typed."""

from __future__ import annotations

from textual import events
from textual.app import ComposeResult
from textual.containers import Horizontal
from textual.message import Message
from textual.widgets import Input, Static


class Prompt(Horizontal):
    """Asks for one line. Enter answers, Escape gives up, up and down recall earlier answers."""

    DEFAULT_CSS = """
    Prompt { height: 1; background: $background; }
    Prompt Static { width: auto; color: $accent; padding: 0 0 0 1; }
    Prompt Input { width: 1fr; height: 1; border: none; padding: 0; background: $background; }
    Prompt Input:focus { border: none; background: $background; }
    """

    class Changed(Message):
        """What is typed so far."""

        def __init__(self, purpose: str, value: str) -> None:
            super().__init__()
            self.purpose, self.value = purpose, value

    class Answered(Message):
        """The line, or None when it was given up."""

        def __init__(self, purpose: str, value: str | None) -> None:
            super().__init__()
            self.purpose, self.value = purpose, value

    def __init__(self, id: str) -> None:
        super().__init__(id=id)
        self.purpose = ""
        self.history: dict[str, list[str]] = {}
        self._back = 0

    def compose(self) -> ComposeResult:
        """A label and an input that never blinks."""
        yield Static(markup=False)
        field = Input(compact=True, select_on_focus=False)
        field.cursor_blink = False
        yield field

    def ask(self, purpose: str, label: str, value: str = "") -> None:
        """Ask anew."""
        self.purpose, self._back = purpose, 0
        self.query_one(Static).update(label)
        field = self.query_one(Input)
        with field.prevent(Input.Changed):
            field.value = value
        field.cursor_position = len(value)

    def focus_input(self) -> None:
        """Type into it."""
        self.query_one(Input).focus(scroll_visible=False)

    def on_input_changed(self, event: Input.Changed) -> None:
        """Tell as it is typed."""
        event.stop()
        self.post_message(self.Changed(self.purpose, event.value))

    def on_input_submitted(self, event: Input.Submitted) -> None:
        """Enter."""
        event.stop()
        past = self.history.setdefault(self.purpose, [])
        if event.value and (not past or past[-1] != event.value):
            past.append(event.value)
        self.post_message(self.Answered(self.purpose, event.value))

    def on_key(self, event: events.Key) -> None:
        """Escape gives up; up and down recall."""
        if event.key == "escape":
            event.stop()
            self.post_message(self.Answered(self.purpose, None))
        elif event.key in ("up", "down"):
            event.stop()
            self._recall(1 if event.key == "up" else -1)

    def _recall(self, by: int) -> None:
        past = self.history.get(self.purpose, [])
        self._back = max(0, min(self._back + by, len(past)))
        field = self.query_one(Input)
        field.value = past[-self._back] if self._back else ""
        field.cursor_position = len(field.value)
