"""The terminal: what it can show, what it must not receive, and what it must be given back.

Asked once, before Textual starts. Everything that talks to the terminal beside Textual is here.
"""

from __future__ import annotations

import base64
import locale
import os
import select
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

from engine.record.errors import UsageError
from engine.record.frozen import dataclass

Depth = Literal["truecolor", "256", "16", "mono"]
_OSC52_LIMIT = 74_000  # what xterm and tmux accept


@dataclass(frozen=True, slots=True)
class Terminal:
    """What the terminal can show."""

    depth: Depth
    ascii: bool
    light: bool


def probe(env: Mapping[str, str]) -> Terminal:
    """Read the terminal's abilities from the environment; refuses one that cannot move its cursor."""
    term = env.get("TERM", "")
    if term in ("", "dumb", "unknown"):
        raise UsageError(
            f"TERM={term or '(not set)'} cannot show the control room; "
            "'avo attach --plain' prints lines instead, or set TERM (for example xterm-256color)"
        )
    return Terminal(_depth(env, term), _is_ascii(env), _is_light(env))


def _depth(env: Mapping[str, str], term: str) -> Depth:
    if env.get("NO_COLOR"):
        return "mono"
    if env.get("COLORTERM", "").lower() in ("truecolor", "24bit") or term.endswith(("-direct", "kitty", "ghostty")):
        return "truecolor"
    if "mono" in term or term in ("vt100", "vt220"):
        return "mono"
    return "256" if "256" in term else "16"


def _is_ascii(env: Mapping[str, str]) -> bool:
    if env.get("AVO_ASCII"):
        return True
    said = env.get("LC_ALL") or env.get("LC_CTYPE") or env.get("LANG") or ""
    if said:
        return "utf" not in said.lower()
    return "utf" not in locale.getpreferredencoding(False).lower()


def _is_light(env: Mapping[str, str]) -> bool:
    """rxvt, konsole and others say `foreground;background` in COLORFGBG; 7 and 15 are white."""
    return env.get("COLORFGBG", "").rpartition(";")[2] in ("7", "15")


def hung_up() -> bool:
    """Whether the terminal is gone. A process without a controlling terminal gets no SIGHUP when it is closed."""
    try:
        poll = select.poll()
        poll.register(sys.__stdin__.fileno() if sys.__stdin__ else 0, 0)
        return any(flags & (select.POLLHUP | select.POLLERR | select.POLLNVAL) for _, flags in poll.poll(0))
    except (OSError, ValueError, AttributeError):  # no such descriptor; or a system without poll
        return False


def require_tty() -> None:
    """Refuse to start without a terminal at both ends."""
    if not (sys.__stdin__ and sys.__stdin__.isatty() and sys.__stderr__ and sys.__stderr__.isatty()):
        raise UsageError("the control room needs a terminal; 'avo log --follow' or 'avo status' work without one")


@contextmanager
def guarded_stderr(log: Path) -> Iterator[None]:
    """Keep what libraries write to descriptor 2 off the screen: it goes to `log`, Textual keeps the terminal."""
    assert sys.__stderr__ is not None
    original = sys.__stderr__
    screen = os.fdopen(os.dup(original.fileno()), "w", encoding="utf-8", errors="replace")
    try:
        log.parent.mkdir(parents=True, exist_ok=True)
        sink = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    except OSError:
        sink = os.open(os.devnull, os.O_WRONLY)
    os.dup2(sink, original.fileno())
    os.close(sink)
    sys.__stderr__ = screen  # type: ignore[misc]
    try:
        yield
    finally:
        screen.flush()
        os.dup2(screen.fileno(), original.fileno())
        sys.__stderr__ = original  # type: ignore[misc]
        screen.close()


def osc52(text: str, env: Mapping[str, str]) -> str:
    """The escape sequence that puts `text` on the clipboard; empty when it is too long for terminals.

    tmux and screen pass it on only when it is wrapped for them.
    """
    coded = base64.b64encode(text.encode("utf-8")).decode("ascii")
    if len(coded) > _OSC52_LIMIT:
        return ""
    sequence = f"\x1b]52;c;{coded}\x07"
    if env.get("TERM", "").startswith("screen") and not env.get("TMUX"):
        return "".join(f"\x1bP{sequence[i : i + 240]}\x1b\\" for i in range(0, len(sequence), 240))
    return sequence


# Written before the room gives the screen back. Where there is no second screen (GNU screen as it comes, a console),
# its picture would else stay, with the prompt in the midst of it.
BLANK = "\x1b[0m\x1b[H\x1b[2J"

_TITLED = ("xterm", "screen", "tmux", "rxvt", "alacritty", "foot", "wezterm", "kitty", "ghostty", "st-", "konsole")


def has_title(env: Mapping[str, str]) -> bool:
    """Whether the terminal has a window that can be named; a bare console would show the letters."""
    return any(name in env.get("TERM", "") for name in _TITLED)


def title(text: str) -> str:
    """The escape sequence that names the terminal's window."""
    return f"\x1b]2;{text}\x07"


@contextmanager
def title_kept() -> Iterator[None]:
    """Give the window its old name back (XTWINOPS 22 and 23: terminals keep titles on a stack)."""
    if not has_title(os.environ) or sys.__stderr__ is None:
        yield
        return
    print("\x1b[22;2t", end="", file=sys.__stderr__, flush=True)
    try:
        yield
    finally:
        print("\x1b[23;2t", end="", file=sys.__stderr__, flush=True)


def state_directory() -> Path:
    """Where the room keeps its own small files: $XDG_STATE_HOME/avo."""
    return Path(os.environ.get("XDG_STATE_HOME") or "~/.local/state").expanduser() / "avo"


def config_directory() -> Path:
    """Where a person's settings lie: $XDG_CONFIG_HOME/avo."""
    return Path(os.environ.get("XDG_CONFIG_HOME") or "~/.config").expanduser() / "avo"
