"""The key table: every key, what it does and in which words. Bindings, help, hints and the palette come from it.

The case rule: a small letter only looks, a capital acts on the run (G and N, find and go to the end, look too).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from engine.record.errors import ConfigError
from engine.record.frozen import dataclass


@dataclass(frozen=True, slots=True)
class Key:
    """One entry: `keys` (Textual names, by commas), the action it runs, and where it counts.

    `hint` is its word on the last line ("" keeps it off), `panes` where that hint is shown
    (() everywhere), `acts` whether it changes the run, and so is off when read-only.
    """

    id: str
    keys: str
    action: str
    group: str
    help: str
    hint: str = ""
    panes: tuple[str, ...] = ()
    acts: bool = False
    shown: str = ""

    @property
    def label(self) -> str:
        """How the key is written for people."""
        return self.shown or " ".join(_NAMES.get(k, k) for k in self.keys.split(","))


_NAMES = {
    "question_mark": "?", "slash": "/", "colon": ":", "plus": "+", "underscore": "_", "left_square_bracket": "[",
    "right_square_bracket": "]", "less_than_sign": "<", "greater_than_sign": ">", "enter": "Enter", "escape": "Esc",
    "space": "Space", "tab": "Tab", "shift+tab": "S-Tab", "up": "↑", "down": "↓", "left": "←", "right": "→",
    "pageup": "PgUp", "pagedown": "PgDn", "home": "Home", "end": "End", "exclamation_mark": "!",
}  # fmt: skip

STEER, LOOK, MOVE, TIME, ROOM = "Steer the run", "Look closer", "Move", "Travel in time", "The room"

TABLE: tuple[Key, ...] = (
    Key("pause", "P", "pause", STEER, "pause at the next boundary, or resume", "pause", acts=True),
    Key("wait", "W", "wake", STEER, "wait no longer: the operator asks again now", "wait no longer", acts=True),
    Key("halt", "H", "halt", STEER, "halt: interrupt what runs now, then pause", acts=True),
    Key("direct", "I", "direct", STEER, "direct: write to the operator what to try", "direct", acts=True),
    Key("rollback", "R", "rollback", STEER, "roll back to an older version", "roll back", ("versions",), acts=True),
    Key("undo", "Z", "undo", STEER, "undo: cancel a command not yet applied, else the last roll-back", acts=True),
    Key("acknowledge", "A", "acknowledge", STEER, "acknowledge the selected alert, or the gravest", "ack",
        ("supervisor",), acts=True),
    Key("pin", "K", "pin", STEER, "keep: pin the selected direction, so that it is tried first", "pin", ("context",),
        acts=True),
    Key("veto", "V", "veto", STEER, "veto the selected direction", "veto", ("context",), acts=True),
    Key("limits", "L", "limits", STEER, "limits: change minutes, versions or dollars", acts=True),
    Key("stop", "X", "stop", STEER, "stop the run for good (type its name)", acts=True),
    Key("open", "enter", "open", LOOK, "open: review a version, see an attempt, unfold a block", "open",
        ("versions", "attempts", "transcript", "output")),
    Key("fold", "space", "fold", LOOK, "unfold or fold one block", "unfold", ("transcript", "output")),
    Key("order", "o", "order", LOOK, "next order of a table; unfold or fold all of a transcript", "order",
        ("scores", "attempts", "trajectory")),
    Key("diff", "d", "diff", LOOK, "the diff of the selected version or attempt", "diff", ("versions", "attempts")),
    Key("mark", "m", "mark", LOOK, "mark a version: diffs compare against it", "mark", ("versions",)),
    Key("find", "slash", "find", LOOK, "find in text, filter in a table; !word leaves rows out", "find"),
    Key("search", "ctrl+f", "search", LOOK, "search the whole run, and go to what was found"),
    Key("next", "n", "next_match", LOOK, "next match"),
    Key("previous", "N", "previous_match", LOOK, "previous match"),
    Key("follow", "f", "follow", LOOK, "follow: back to the newest line, and back to now", "follow",
        ("transcript", "output")),
    Key("copy", "y", "copy", LOOK, "copy what is selected (clipboard and file)"),
    Key("save", "s", "save", LOOK, "save the pane as text and the screen as SVG"),
    Key("editor", "e", "editor", LOOK, "open what is selected in $EDITOR"),
    Key("away", "a", "away", LOOK, "what happened since you last looked"),
    Key("up", "k,up", "move(-1)", MOVE, "one line up"),
    Key("down", "j,down", "move(1)", MOVE, "one line down"),
    Key("half_up", "ctrl+u,pageup", "page(-1)", MOVE, "half a page up"),
    Key("half_down", "ctrl+d,pagedown", "page(1)", MOVE, "half a page down"),
    Key("left", "h,left", "sideways(-1)", MOVE, "to the left"),
    Key("right", "l,right", "sideways(1)", MOVE, "to the right"),
    Key("first", "g,home", "edge(-1)", MOVE, "to the first line"),
    Key("last", "G,end", "edge(1)", MOVE, "to the last line, and follow"),
    Key("tab", "tab", "focus_pane(1)", MOVE, "next pane"),
    Key("untab", "shift+tab", "focus_pane(-1)", MOVE, "previous pane"),
    Key("view1", "1", "view(1)", MOVE, "1 to 7: a view; its number again goes on to its next pane"),
    *(Key(f"view{n}", str(n), f"view({n})", MOVE, f"view {n}") for n in range(2, 8)),
    Key("step_back", "left_square_bracket", "step(-1)", TIME, "one attempt back"),
    Key("step_on", "right_square_bracket", "step(1)", TIME, "one attempt on"),
    Key("version_back", "less_than_sign", "leap(-1)", TIME, "one version back"),
    Key("version_on", "greater_than_sign", "leap(1)", TIME, "one version on"),
    Key("goto", "t", "goto", TIME, "go to a time (14:05, -20m), a version (v7), an attempt (a41) or now"),
    Key("play", "p", "play", TIME, "play: replay the run from here, or hold it"),
    Key("faster", "right_curly_bracket", "speed(1)", TIME, "replay faster", shown="}"),
    Key("slower", "left_curly_bracket", "speed(-1)", TIME, "replay slower", shown="{"),
    Key("zoom", "plus", "zoom(1)", ROOM, "zoom: the pane fills the room"),
    Key("unzoom", "underscore", "zoom(-1)", ROOM, "unzoom"),
    Key("reset", "0", "reset", ROOM, "reset the layout and the filters"),
    Key("help", "question_mark", "help", ROOM, "this help", "help"),
    Key("palette", "ctrl+p", "palette", ROOM, "every action by name"),
    Key("command", "colon", "command", ROOM, "type a command (:rollback 3, :theme light)"),
    Key("redraw", "ctrl+l", "redraw", ROOM, "draw the screen anew"),
    Key("back", "escape", "back", ROOM, "back: close, clear the filter, return to now"),
    Key("detach", "q", "detach", ROOM, "detach; the run goes on", "detach"),
    Key("interrupt", "ctrl+c", "quit_twice", ROOM, "twice: detach"),
)  # fmt: skip

# What the last line says in the past and after the end, where nothing can be steered: (id, word, as it is shown).
PAST: tuple[tuple[str, str, str], ...] = (
    ("follow", "now", ""), ("step_back", "attempt", "[ ]"), ("version_back", "version", "< >"), ("play", "play", ""),
    ("goto", "go to", ""),
)  # fmt: skip

_SHARED = frozenset({
    "pause", "wait", "direct", "rollback", "undo", "up", "down", "half_up", "half_down", "left", "right", "first",
    "last", "tab", "untab", "find", "next", "previous", "copy", "editor", "mark", "help", "redraw", "detach",
})  # fmt: skip

_REVIEW_HINTS = {"rollback": "roll back", "find": "find"}

# The keys of a review: the shared ones, and its own.
REVIEW: tuple[Key, ...] = (
    *(replace(k, hint=_REVIEW_HINTS.get(k.id, ""), panes=()) for k in TABLE if k.id in _SHARED),
    *(Key(f"part{n}", str(n), f"view({n})", MOVE, f"part {n}", shown=str(n)) for n in range(1, 7)),
    Key("hunk_on", "right_square_bracket", "hunk(1)", LOOK, "next hunk of the diff", "hunk", shown="[ ]"),
    Key("hunk_back", "left_square_bracket", "hunk(-1)", LOOK, "previous hunk"),
    Key("next_version", "greater_than_sign", "leap(1)", LOOK, "next version or attempt", "version", shown="< >"),
    Key("previous_version", "less_than_sign", "leap(-1)", LOOK, "previous version or attempt"),
    Key("base", "b", "base", LOOK, "compare with the parent, the seed, the best, the marked version", "base"),
    Key("side", "u", "side", LOOK, "unified or side by side", "side by side"),
    Key("blanks", "w", "space", LOOK, "whether changes of blanks count"),
    Key("export", "s", "export", LOOK, "save: write the version's sources to a directory", "export"),
    Key("leave", "escape", "back", ROOM, "back to the room", "back"),
)  # fmt: skip


def remapped(table: tuple[Key, ...], wanted: Mapping[str, object], where: str) -> tuple[Key, ...]:
    """The table with a person's own keys (`[keys]` of room.toml: `id = "key,key"`).

    An unknown id, or one key for two actions, is an error that names its place.
    """
    known = {key.id for key in table}
    for name, value in wanted.items():
        if name not in known:
            raise ConfigError(f"{where}: [keys] has no action {name!r}; known: {', '.join(sorted(known))}")
        if not isinstance(value, str) or not value.strip():
            raise ConfigError(f'{where}: [keys] {name} must name one or more keys, like "f5" or "p,f5"')
    changed = tuple(
        replace(k, keys=str(wanted[k.id]).replace(" ", ""), shown="") if k.id in wanted else k for k in table
    )
    owner: dict[str, str] = {}
    for key in changed:
        for name in key.keys.split(","):
            if name in owner:
                raise ConfigError(f"{where}: [keys] gives {name} to both {owner[name]} and {key.id}")
            owner[name] = key.id
    return changed
