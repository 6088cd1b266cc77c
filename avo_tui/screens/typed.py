"""Typed commands: what `:` understands. Each does what a key does, with the same confirmations."""

from __future__ import annotations

import shlex
from collections.abc import Callable
from typing import TYPE_CHECKING

from avo_tui import prefs
from engine.record.commands import Verb
from engine.record.errors import UsageError

if TYPE_CHECKING:
    from avo_tui.screens.room import Room


def obey(room: Room, text: str) -> None:
    """Do what was typed; raises UsageError with what would be understood."""
    try:
        word, *rest = shlex.split(text)
    except ValueError as error:
        raise UsageError(f"{text}: {error}") from error
    except IndexError:
        return
    found = [name for name in _VERBS if name.startswith(word.lower())]
    if word.lower() in _VERBS:
        found = [word.lower()]
    if len(found) != 1:
        raise UsageError(f"no command {word!r}; there are {', '.join(_VERBS)}")
    _VERBS[found[0]](room, rest, text.partition(word)[2].strip())


def _action(name: str) -> Callable[[Room, list[str], str], None]:
    def act(room: Room, words: list[str], rest: str) -> None:
        room.call_later(room.run_action, name)

    return act


def _send(verb: Verb) -> Callable[[Room, list[str], str], None]:
    def send(room: Room, words: list[str], rest: str) -> None:
        if room.avo.may_act():
            room.avo.command(verb)

    return send


def _rollback(room: Room, words: list[str], rest: str) -> None:
    if words:
        room.panes["versions"].select(_version(words[0]))
        if room.avo.snapshot.version(_version(words[0])) is None:
            raise UsageError(f"this run has no {words[0]}")
        room.rollback_to(_version(words[0]))
    else:
        room.action_rollback()


def _version(word: str) -> int:
    number = word.lower().removeprefix("v")
    if not number.isdigit():
        raise UsageError(f"{word!r} is no version; versions are v0, v1, …")
    return int(number)


def _direct(room: Room, words: list[str], rest: str) -> None:
    if rest:
        room.avo.draft = rest
    room.action_direct()


def _theme(room: Room, words: list[str], rest: str) -> None:
    if not words or words[0] not in prefs.THEMES[1:]:
        raise UsageError(f"themes are {', '.join(prefs.THEMES[1:])}")
    few = "256" if room.avo.palette.name.endswith("256") and words[0] in ("dark", "light") else ""
    room.avo.use_palette(words[0] + few)


def _ascii(room: Room, words: list[str], rest: str) -> None:
    room.avo.ascii = words[:1] != ["off"]
    room.action_redraw()


def _export(room: Room, words: list[str], rest: str) -> None:
    if len(words) != 2:
        raise UsageError(":export vN DIRECTORY")
    room.avo.export(_version(words[0]), words[1])


def _open(room: Room, words: list[str], rest: str) -> None:
    from avo_tui.model.review import Subject
    from avo_tui.screens.review import ReviewScreen

    word = words[0].lower() if words else f"v{room.avo.snapshot.head}"
    number = word[1:]
    if word[:1] not in ("v", "a") or not number.isdigit():
        raise UsageError(":open v7 or :open a41")
    subject = Subject(version=int(number)) if word[0] == "v" else Subject(attempt=int(number))
    room.app.push_screen(ReviewScreen(subject))


_VERBS: dict[str, Callable[[Room, list[str], str], None]] = {
    "pause": _send("pause"),
    "resume": _send("resume"),
    "wait": _action("wake"),
    "halt": _action("halt"),
    "stop": _action("stop"),
    "undo": _action("undo"),
    "acknowledge": _action("acknowledge"),
    "limits": _action("limits"),
    "detach": _action("detach"),
    "quit": _action("detach"),
    "help": _action("help"),
    "away": _action("away"),
    "reset": _action("reset"),
    "rollback": _rollback,
    "direct": _direct,
    "open": _open,
    "goto": lambda room, words, rest: room.go(rest),
    "theme": _theme,
    "ascii": _ascii,
    "export": _export,
}
WORDS = tuple(_VERBS)
