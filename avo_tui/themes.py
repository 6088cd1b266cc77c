"""Palettes: how each role looks. The one place where colours are named.

Colour never carries meaning alone: every good, bad and warning also has a mark or a word.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import cached_property

from rich.style import Style
from textual.theme import BUILTIN_THEMES, Theme

from engine.record.frozen import dataclass

_DARK = {
    "": "#c4cdd6",
    "dim": "#8a95a1",
    "quiet": "#74808c",
    "faint": "#414b57",
    "strong": "bold #eef3f8",
    "head": "#e3eaf1",
    "accent": "bold #5fc9c2",
    "good": "#7fd18b",
    "warn": "#e5b95c",
    "bad": "#f2837b",
    "info": "#8ab8e6",
    "you": "#c9a6f5",
    "super": "#f0a875",
    "think": "italic #8a95a1",
    "tool": "#a8c7e8",
    "plot": "#5fc9c2",
    "base": "#b8a77a",
    "key": "bold #5fc9c2",
    "badge": "bold #101418 on #e5b95c",
    "bar": "on #1a2028",
    "add": "#9bdba6 on #13241b",
    "del": "#f2a49d on #2b1719",
    "addword": "#d8ffdf on #18462a",
    "delword": "#ffe0dc on #7a2c30",
    "hunk": "#8ab8e6 on #151c26",
    "match": "#101418 on #e5b95c",
    "select": "on #24303d",
    "trace": "on #1b222b",
    "kw": "#c9a6f5",
    "str": "#b6cf8e",
    "num": "#f0a875",
    "com": "italic #828d99",
    "type": "#8ab8e6",
    "fn": "#e5d08a",
    "pre": "#d79ab8",
}
_LIGHT = {
    "": "#2a3138",
    "dim": "#5d6873",
    "quiet": "#727d87",
    "faint": "#c3c9cf",
    "strong": "bold #0b0e11",
    "head": "#14191e",
    "accent": "bold #00706b",
    "good": "#17692c",
    "warn": "#8a5a00",
    "bad": "#b3261e",
    "info": "#1d5c99",
    "you": "#6b3fa0",
    "super": "#a04a00",
    "think": "italic #5d6873",
    "tool": "#2a5a8c",
    "plot": "#00807a",
    "base": "#7a6a2e",
    "key": "bold #00706b",
    "badge": "bold #ffffff on #8a5a00",
    "bar": "on #eceff1",
    "add": "#17551f on #e4f5e6",
    "del": "#8f1d18 on #fdeae8",
    "addword": "#0b3d13 on #c8edce",
    "delword": "#6b0f0b on #f6c0bb",
    "hunk": "#1d5c99 on #eaf1f8",
    "match": "#000000 on #ffd76a",
    "select": "on #d5e8e7",
    "trace": "on #eef2f3",
    "kw": "#6b3fa0",
    "str": "#4a6b0f",
    "num": "#a04a00",
    "com": "italic #66707a",
    "type": "#1d5c99",
    "fn": "#6f5600",
    "pre": "#8c2f5e",
}
_ANSI = {
    "": "default",
    "dim": "dim default",
    "quiet": "dim default",
    "faint": "dim default",
    "strong": "bold default",
    "head": "default",
    "accent": "bold cyan",
    "good": "green",
    "warn": "yellow",
    "bad": "red",
    "info": "cyan",
    "you": "magenta",
    "super": "magenta",
    "think": "dim default",
    "tool": "default",
    "plot": "cyan",
    "base": "yellow",
    "key": "bold cyan",
    "badge": "bold reverse default",
    "bar": "default",
    "add": "green",
    "del": "red",
    "addword": "reverse green",
    "delword": "reverse red",
    "hunk": "cyan",
    "match": "reverse yellow",
    "select": "reverse",
    "trace": "underline",
    "kw": "magenta",
    "str": "green",
    "num": "yellow",
    "com": "dim default",
    "type": "cyan",
    "fn": "default",
    "pre": "magenta",
}
_MONO = dict.fromkeys(("strong", "accent", "bad", "warn", "key", "kw", "you", "super"), "bold") | {
    **dict.fromkeys(("dim", "quiet", "faint", "think", "com", "base"), "dim"),
    "badge": "reverse",
    "addword": "bold underline",
    "delword": "bold underline",
    "match": "reverse",
    "select": "reverse",
    "trace": "underline",
}


# 256 colours have few dark ones: greys behind, and the change of a line in its letters.
_DARK256 = {
    "bar": "on #1c1c1c",
    "select": "on #303030",
    "trace": "on #262626",
    "add": "#87d787 on #1c1c1c",
    "del": "#ff8787 on #1c1c1c",
    "addword": "#121212 on #87d787",
    "delword": "#121212 on #ff8787",
    "hunk": "#87afd7 on #1c1c1c",
    "faint": "#444444",
}
_LIGHT256 = {
    "bar": "on #e4e4e4",
    "select": "on #d0d0d0",
    "trace": "on #eeeeee",
    "add": "#005f00 on #eeeeee",
    "del": "#870000 on #eeeeee",
    "addword": "#ffffff on #005f00",
    "delword": "#ffffff on #870000",
    "hunk": "#005f87 on #eeeeee",
    "faint": "#bcbcbc",
}


@dataclass(frozen=True)
class Palette:
    """One theme. `ansi` ones keep to the terminal's own colours.

    With `plain_changes` a changed line has no syntax colours: its letters carry the change.
    """

    name: str
    dark: bool
    background: str
    roles: Mapping[str, str]
    ansi: bool = False
    plain_changes: bool = False

    @cached_property
    def styles(self) -> dict[str, Style]:
        """A Rich style for each role, with the background filled in."""
        base = Style.parse(f"{self.roles.get('', 'default')} on {self.background}")
        return {
            role: base + Style.parse(text) for role, text in {"": "default" if self.ansi else "", **self.roles}.items()
        }

    def style(self, role: str) -> Style:
        """The style of a role; plain text for an unknown one. `kw+add` is syntax on a changed line."""
        found = self.styles.get(role)
        if found is None:
            syntax, _, change = role.partition("+")
            found = self.styles.get(change or role) or self.styles[""]
            if change and not self.ansi and not self.plain_changes and syntax in self.styles:
                found += Style(color=self.styles[syntax].color)
            self.styles[role] = found
        return found

    def laid_over(self, style: Style, role: str) -> Style:
        """A style with another laid over it: a selected row, the status line.

        Reversed colours would make a patchwork, so a reversed row is all of one kind; and a badge on the status
        line keeps its own ground, on which alone its letters can be read.
        """
        over = Style.parse(self.roles.get(role, ""))
        if role == "bar" and style.bgcolor != self.styles[""].bgcolor:
            return style
        return over + Style(bold=style.bold) if over.reverse else style + over

    def theme(self) -> Theme:
        """The Textual theme for dialogs, editors and the palette."""

        def colour(role: str, fallback: str) -> str:
            found = Style.parse(self.roles.get(role, "")).color
            return fallback if found is None or self.ansi else found.name

        if self.ansi:
            return replace(
                BUILTIN_THEMES["ansi-dark"], name=f"avo-{self.name}", primary="ansi_cyan", accent="ansi_cyan"
            )
        bar = Style.parse(self.roles["bar"]).bgcolor
        panel = bar.name if bar else self.background
        return Theme(
            name=f"avo-{self.name}",
            dark=self.dark,
            primary=colour("accent", "cyan"),
            secondary=colour("info", "blue"),
            warning=colour("warn", "yellow"),
            error=colour("bad", "red"),
            success=colour("good", "green"),
            accent=colour("accent", "cyan"),
            foreground=colour("", "white"),
            background=self.background,
            surface=panel,
            panel=panel,
        )


PALETTES: dict[str, Palette] = {
    "dark": Palette("dark", True, "#101418", _DARK),
    "light": Palette("light", False, "#fbfbf9", _LIGHT),
    "ansi": Palette("ansi", True, "default", _ANSI, ansi=True),
    "mono": Palette("mono", True, "default", _MONO, ansi=True),
    "dark256": Palette("dark256", True, "#121212", {**_DARK, **_DARK256}, plain_changes=True),
    "light256": Palette("light256", False, "#ffffff", {**_LIGHT, **_LIGHT256}, plain_changes=True),
}

# What stands for each character that an ASCII terminal cannot show.
ASCII = str.maketrans({
    "─": "-", "│": "|", "├": "|", "┤": "+", "└": "+", "┌": "+", "┐": "+", "┘": "+", "┬": "+", "┴": "+", "┼": "+",
    "┈": ".", "┃": "#", "▌": ">", "▐": "|", "●": "*", "○": "o", "◌": "o", "◍": "o", "■": "#", "‖": "=", "▲": "^",
    "△": "^", "▼": "v", "▽": "v", "▸": ">", "▾": "v", "✓": "+", "✗": "x", "≈": "~", "→": ">", "←": "<", "↑": "^",
    "↓": "v", "…": "~", "·": ".", "×": "x", "—": "-", "±": "~", "Δ": "d", "★": "*", "◆": "*", "⟳": "@", "↶": "<",
    "✎": "#", "§": "S", "µ": "u",
    "━": "=", "╎": ":", "┿": "+", "−": "-", "⋯": "~", "▬": "=", "▶": ">", "°": " ",
    "²": "2", "⚑": "!", "•": "*", "–": "-", "“": '"', "”": '"', "’": "'", "‘": "'",
})  # fmt: skip


def to_ascii(text: str) -> str:
    """Text for a terminal without Unicode; what has no stand-in becomes a question mark."""
    return text if text.isascii() else text.translate(ASCII).encode("ascii", "replace").decode("ascii")
