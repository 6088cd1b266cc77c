"""What the room remembers for a person: settings they write (room.toml), and when they last looked at each run."""

from __future__ import annotations

import json
import os
import tomllib
from pathlib import Path
from typing import Any

from avo_tui import terminal
from engine.record.errors import ConfigError
from engine.record.frozen import dataclass

THEMES = ("auto", "dark", "light", "ansi", "mono")
_KNOWN = ("theme", "ascii", "mouse", "keys", "bell")
_KEEP = 200


@dataclass(frozen=True, slots=True)
class Prefs:
    """A person's room.toml. `keys` maps action ids to keys (avo_tui/keys.py)."""

    theme: str = "auto"
    ascii: bool | None = None
    mouse: bool = True
    bell: bool = True
    keys: tuple[tuple[str, object], ...] = ()


def path() -> Path:
    """Where the settings lie."""
    return terminal.config_directory() / "room.toml"


def load(file: Path | None = None) -> Prefs:
    """Read the settings; a missing file is the defaults, a wrong one is an error with its place."""
    file = file or path()
    try:
        data = tomllib.loads(file.read_text("utf-8"))
    except FileNotFoundError:
        return Prefs()
    except (OSError, tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{file}: {error}") from error
    if unknown := sorted(set(data) - set(_KNOWN)):
        raise ConfigError(f"{file}: unknown key {unknown[0]!r}; known: {', '.join(_KNOWN)}")
    if data.get("theme", "auto") not in THEMES:
        raise ConfigError(f"{file}: theme = {data['theme']!r} is not one of {', '.join(THEMES)}")
    for name in ("ascii", "mouse", "bell"):
        if name in data and not isinstance(data[name], bool):
            raise ConfigError(f"{file}: {name} = {data[name]!r} is not true or false")
    keys = data.get("keys", {})
    if not isinstance(keys, dict):
        raise ConfigError(f"{file}: keys must be a table, as in [keys]")
    return Prefs(
        data.get("theme", "auto"),
        data.get("ascii"),
        data.get("mouse", True),
        data.get("bell", True),
        tuple(keys.items()),
    )


def last_look(run: Path) -> tuple[int, float] | None:
    """The newest event that was seen of a run, and when; None the first time."""
    try:
        found: Any = _looks()[str(run)]
        return int(found[0]), float(found[1])
    except (KeyError, IndexError, TypeError, ValueError):
        return None


def remember_look(run: Path, seq: int, at: float) -> None:
    """Remember what was seen. A full or read-only disk only means a longer digest the next time."""
    looks = _looks()
    looks.pop(str(run), None)
    looks[str(run)] = [seq, at]
    kept = dict(list(looks.items())[-_KEEP:])
    file = _looks_file()
    new = file.with_suffix(f".{os.getpid()}")
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        new.write_text(json.dumps(kept), "utf-8")
        new.replace(file)
    except OSError:
        return


def _looks_file() -> Path:
    return terminal.state_directory() / "looks.json"


def _looks() -> dict[str, object]:
    try:
        data = json.loads(_looks_file().read_text("utf-8"))
    except (OSError, ValueError):
        return {}
    return data if isinstance(data, dict) else {}
