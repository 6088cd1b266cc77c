"""The limits dialog: when the run ends by itself. Only what was changed is sent."""

from __future__ import annotations

from textual.app import ComposeResult
from textual.containers import Horizontal, Vertical
from textual.widgets import Button, Input

from avo_tui.screens.dialog import Dialog
from avo_tui.widgets.lines import Lines
from engine.record.config import Limits

_FIELDS = {"minutes": float, "versions": int, "usd": float, "attempts": int}


class LimitsDialog(Dialog):
    """Dismisses with the changed limits: name -> number, or None for no limit."""

    DEFAULT_CSS = """
    LimitsDialog .field { height: 1; margin: 0; align-horizontal: left; }
    LimitsDialog .field Lines { width: 12; }
    LimitsDialog .field Input { width: 20; }
    """

    def __init__(self, limits: Limits) -> None:
        super().__init__((), title=" Limits ", verb="Change")
        self.limits = limits

    def compose(self) -> ComposeResult:
        """A field for each limit."""
        with Vertical() as box:
            box.border_title = self.title_text
            yield Lines([(("When the run ends by itself. Empty is no limit.", "dim"),), ()])
            for name in _FIELDS:
                with Horizontal(classes="field"):
                    yield Lines([((name, ""),)])
                    field = Input(_text(getattr(self.limits, name)), id=name, compact=True, disabled=True)
                    field.cursor_blink = False
                    yield field
            yield Lines([()], id="said")
            with Horizontal():
                yield Button("Cancel", id="cancel", compact=True, disabled=True)
                yield Button(self.verb, id="do", compact=True, variant="primary", disabled=True)

    def on_input_submitted(self, event: Input.Submitted) -> None:
        """Enter changes."""
        self.accept()

    def accept(self) -> None:
        """Send what changed."""
        changed: dict[str, float | int | None] = {}
        for name, kind in _FIELDS.items():
            text = self.query_one(f"#{name}", Input).value.strip().lstrip("$")
            if text == _text(getattr(self.limits, name)):
                continue
            try:
                value = kind(text) if text else None
                if value is not None and value <= 0:
                    raise ValueError
            except ValueError:
                self.query_one("#said", Lines).set([((f"{name}: {text!r} is not a number above 0", "bad"),)])
                return
            changed[name] = value
        self.dismiss(changed or None)


def _text(value: float | None) -> str:
    return "" if value is None else f"{value:g}"
