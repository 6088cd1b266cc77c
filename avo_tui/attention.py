"""Attention: the window's title says how the run stands, and what is grave rings the bell while nobody looks.

It rings once for each critical alert and once when the engine dies; never for what was there on attach.
"""

from __future__ import annotations

from collections.abc import Callable

from avo_tui import terminal
from avo_tui.model import show
from avo_tui.model.lines import clip_text, one_line
from avo_tui.model.snapshot import Snapshot
from avo_tui.themes import to_ascii

LOOKING_S = 30.0  # after a key, a person is taken to look
TITLE_CELLS = 60


class Attention:
    """Calls for a person. `write` puts bytes on the terminal, outside of the picture."""

    def __init__(self, write: Callable[[str], None], *, bell: bool, titled: bool, ascii: bool) -> None:
        self._write = write
        self._bell, self._titled, self._ascii = bell, titled, ascii
        self._known: frozenset[object] | None = None
        self._title = ""

    def look(self, s: Snapshot, *, idle_s: float, blurred: bool) -> None:
        """Take a live moment; `idle_s` since the last key, `blurred` when the window is known to be elsewhere."""
        grave = frozenset((*(a.alert for a in s.alerts if a.severity == "critical"), *_death(s)))
        fresh = grave - self._known if self._known is not None else ()
        self._known = grave
        if self._bell and fresh and (blurred or idle_s > LOOKING_S):
            self._write("\a")
        self._name(title_of(s))

    def _name(self, title: str) -> None:
        title = to_ascii(title) if self._ascii else title
        if self._titled and title != self._title:
            self._title = title
            self._write(terminal.title(title))


def _death(s: Snapshot) -> tuple[str, ...]:
    return ("died",) if s.state == "crashed" else ()


def title_of(s: Snapshot) -> str:
    """What the window is called: the gravest thing first, then where the run stands."""
    critical = next((a for a in s.open_alerts if a.severity == "critical"), None)
    if s.state == "crashed":
        text = f"✗ {s.run} crashed"
    elif critical is not None:
        text = f"▲ {critical.name} · {s.run}"
    else:
        mark = {"paused": "‖ ", "finished": "■ "}.get(s.state, "")
        best = f" v{s.head}" if s.head is not None else ""
        ratio = s.against(s.rival) if s.rival else None
        text = f"{mark}{s.run}{best}{f' {show.ratio(ratio)}' if ratio else ''}"
    return clip_text(one_line(text), TITLE_CELLS)
