"""The prompt: one line at the bottom where a filter, a place to go or a command is typed."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import takewhile

from textual import events
from textual.app import ComposeResult
from textual.containers import Horizontal
from textual.message import Message
from textual.suggester import SuggestFromList
from textual.widget import Widget
from textual.widgets import Input, Static


class Field(Input):
    """An input whose line ends with Enter at once, so that the next key goes to what comes after it."""

    def on_key(self, event: events.Key) -> None:
        """Enter answers here: Textual's own answer would come after the next key."""
        if event.key == "enter" and isinstance(self.parent, Prompt):
            event.stop()
            event.prevent_default()
            self.parent.answer(self.value)


class Prompt(Horizontal):
    """Asks for one line. Enter answers, Escape gives up, up and down recall earlier answers, Tab completes a word."""

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
        self._before: Widget | None = None
        self._words: Sequence[str] = ()

    def compose(self) -> ComposeResult:
        """A label and an input that never blinks."""
        yield Static(markup=False)
        field = Field(compact=True, select_on_focus=False)
        field.cursor_blink = False
        yield field

    def ask(self, purpose: str, label: str, value: str = "", words: Sequence[str] = ()) -> None:
        """Ask anew; `words` are those with which an answer may begin."""
        self.purpose, self._back, self._words = purpose, 0, words
        self.query_one(Static).update(label)
        field = self.query_one(Input)
        field.suggester = SuggestFromList(words, case_sensitive=False) if words else None
        with field.prevent(Input.Changed):
            field.value = value
        field.cursor_position = len(value)

    def focus_input(self) -> None:
        """Type into it; once it is answered, keys go to where they went before."""
        self._before = self.screen.focused
        self.query_one(Input).focus(scroll_visible=False)

    def on_input_changed(self, event: Input.Changed) -> None:
        """Tell as it is typed."""
        event.stop()
        self.post_message(self.Changed(self.purpose, event.value))

    def answer(self, value: str | None) -> None:
        """End the line, or give it up with None."""
        past = self.history.setdefault(self.purpose, [])
        if value and (not past or past[-1] != value):
            past.append(value)
        self.screen.set_focus(self._before, scroll_visible=False)
        self.post_message(self.Answered(self.purpose, value))

    def on_key(self, event: events.Key) -> None:
        """Escape gives up; up and down recall; Tab completes, and leaves the line to nothing else."""
        if event.key == "escape":
            event.stop()
            self.answer(None)
        elif event.key in ("up", "down"):
            event.stop()
            self._recall(1 if event.key == "up" else -1)

        elif event.key in ("tab", "shift+tab"):
            event.stop()
            self._complete()

    def _complete(self) -> None:
        field = self.query_one(Input)
        found = [word for word in self._words if word.startswith(field.value.lower())]
        if found:
            same = takewhile(lambda letters: len(set(letters)) == 1, zip(*found, strict=False))
            field.value = "".join(letters[0] for letters in same) + (" " if len(found) == 1 else "")
            field.cursor_position = len(field.value)

    def _recall(self, by: int) -> None:
        past = self.history.get(self.purpose, [])
        self._back = max(0, min(self._back + by, len(past)))
        field = self.query_one(Input)
        field.value = past[-self._back] if self._back else ""
        field.cursor_position = len(field.value)
