"""Lines: text in roles. Every pane is lists of these; a palette turns a role into a colour at the very end.

A role says what a piece of text means (good, bad, dim, ...), never how it looks, so that
one model serves truecolor, sixteen colours, monochrome, plain text and exports.
"""

from __future__ import annotations

import re
from collections.abc import Hashable, Iterable, Sequence

from rich.cells import cell_len, set_cell_size

from engine.record.frozen import dataclass

Span = tuple[str, str]
Line = tuple[Span, ...]

EMPTY: Line = ()
LONG, ONE_LINE = 40_000, 4_000  # letters
_COLUMNS = re.compile(r"\S\s{2,}\S.*\s{2,}\S")


@dataclass(frozen=True, slots=True)
class Row:
    """One line of a pane. A row with a `key` can be selected; the key survives reloads."""

    line: Line
    key: Hashable | None = None


def plain(line: Line) -> str:
    """The text alone."""
    return "".join(text for text, _ in line)


def width_of(line: Line) -> int:
    """Terminal cells that a line takes."""
    return sum([len(t) if t.isascii() and t.isprintable() else cell_len(t) for t, _ in line])


def clip(line: Line, width: int) -> Line:
    """A line cut to `width` cells, the last one an ellipsis when something was lost."""
    if width <= 0:
        return EMPTY
    if width_of(line) <= width:
        return line
    out: list[Span] = []
    room = width - 1
    for text, role in line:
        size = cell_len(text)
        if size > room:
            out.append((set_cell_size(text, room).rstrip("…") + "…", role))
            return tuple(out)
        out.append((text, role))
        room -= size
    return tuple(out)


def cut(line: Line, start: int, width: int) -> Line:
    """The `width` cells of a line from cell `start` on; no ellipsis."""
    out: list[Span] = []
    skip, room = start, width
    for text, role in line:
        size = cell_len(text)
        if skip >= size:
            skip -= size
            continue
        if room <= 0:
            break
        rest = _drop(text, skip)
        skip = 0
        kept = rest if cell_len(rest) <= room else set_cell_size(rest, room)
        out.append((kept, role))
        room -= cell_len(kept)
    return tuple(out)


def _drop(text: str, cells: int) -> str:
    """Text without its first cells; half of a wide letter becomes a blank."""
    used = 0
    for i, letter in enumerate(text):
        if used >= cells:
            return " " * (used - cells) + text[i:]
        used += cell_len(letter)
    return ""


def fit(line: Line, width: int) -> Line:
    """A line of exactly `width` cells: clipped or padded."""
    line = clip(line, width)
    gap = width - width_of(line)
    return (*line, (" " * gap, "")) if gap > 0 else line


def spread(left: Line, right: Line, width: int, fill: Span = (" ", ""), share: float = 0.0) -> Line:
    """`left` and `right` at the two ends of a line of `width` cells.

    The left one is clipped first, but keeps `share` of the width where it needs it.
    """
    right = clip(right, width - min(width_of(left) + 1, int(width * share)))
    left = clip(left, max(width - width_of(right) - 1, 0)) if right else clip(left, width)
    gap = width - width_of(left) - width_of(right)
    return (*left, (fill[0] * gap, fill[1]), *right)


def left(text: str, width: int) -> str:
    """Text in a column of `width` cells, to the left."""
    size = cell_len(text)
    return text + " " * (width - size) if size <= width else clip_text(text, width)


def right(text: str, width: int) -> str:
    """Text in a column of `width` cells, to the right."""
    size = cell_len(text)
    return " " * (width - size) + text if size <= width else clip_text(text, width)


def clip_text(text: str, width: int) -> str:
    """Text cut to `width` cells with an ellipsis."""
    if cell_len(text) <= width:
        return text
    return set_cell_size(text, width - 1).rstrip("…") + "…" if width > 0 else ""


def join(parts: Iterable[Line], between: Span) -> Line:
    """Lines one after the other with a separator; empty ones are left out."""
    out: list[Span] = []
    for part in parts:
        if not part:
            continue
        if out:
            out.append(between)
        out.extend(part)
    return tuple(out)


def join_fitting(parts: Sequence[Line], between: Span, width: int) -> Line:
    """As many of the parts, first ones first, as fit into `width` cells."""
    kept: list[Line] = []
    used = 0
    for part in parts:
        if not part:
            continue
        size = width_of(part) + (cell_len(between[0]) if kept else 0)
        if used + size <= width:
            kept.append(part)
            used += size
    return join(kept, between)


def fold(text: str, width: int) -> list[str]:
    """Wrapped text in which the lines of a table stay whole lines: they are clipped, since broken ones say nothing."""
    out: list[str] = []
    for line in text.splitlines() or [""]:
        out += [clip_text(line, width)] if _COLUMNS.search(line) and cell_len(line) > width else wrap(line, width)
    return out


def wrap(text: str, width: int) -> list[str]:
    """Text broken at spaces into lines of at most `width` cells; leading blanks of a line are kept."""
    out: list[str] = []
    for raw in text.splitlines() or [""]:
        out.extend(_wrap_one(raw, max(width, 1)))
    return out


def _wrap_one(text: str, width: int) -> list[str]:
    if len(text) <= width and (text.isascii() or cell_len(text) <= width):
        return [text]
    indent = re.match(r" *(?:[-*•] |\d+[.)] )?", text)
    hang = " " * min(indent.end() if indent else 0, width // 2)
    size = len if text.isascii() and text.isprintable() else cell_len
    lines: list[str] = []
    current = ""
    for word in re.findall(r"\s*\S+", text) or [text]:
        if size(current) + size(word) <= width:
            current += word
            continue
        if current.strip():
            lines.append(current)
        *full, last = _pieces(word.lstrip(), width - len(hang))
        lines.extend(hang + piece for piece in full)
        current = hang + last
    return [*lines, current]


def _pieces(word: str, width: int) -> list[str]:
    """A word in pieces of at most `width` cells; the last piece may be shorter."""
    pieces: list[str] = []
    while cell_len(word) > width:
        taken = len(set_cell_size(word, width).rstrip(" ")) or 1
        pieces.append(word[:taken])
        word = word[taken:]
    return [*pieces, word]


_ESCAPES = re.compile(
    r"\x1b\[[0-?]*[ -/]*[@-~]"  # CSI
    r"|\x1b[\]PX^_][^\x07\x1b\x9c]*(?:\x07|\x1b\\|\x9c)?"  # OSC, DCS, SOS, PM, APC
    r"|\x9b[0-?]*[ -/]*[@-~]"  # CSI in one byte
    r"|\x1b[ -/]*[0-~]?"  # the rest
)
# C0 and C1 controls, and the marks that reorder text: they would move the line, not be part of it.
_CONTROLS = re.compile(
    r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200b\u200e\u200f\u202a-\u202e\u2060-\u2069\ufeff\ufff9-\ufffb]"
)


def clean(text: str) -> str:
    """Text that cannot move the cursor or reorder a line: escapes, controls and direction marks removed."""
    if text.isascii() and text.isprintable():
        return text
    text = _ESCAPES.sub("", text.replace("\r\n", "\n"))
    if "\r" in text:  # a progress bar: what the terminal would show last
        text = "\n".join(line.rstrip("\r").rsplit("\r", 1)[-1] for line in text.split("\n"))
    return _CONTROLS.sub("", text.expandtabs(4))


def brief(text: str) -> str:
    """Clean text, without the middle where it is longer than anyone reads in a pane."""
    gone = len(text) - LONG
    if gone > 0:
        text = f"{text[: LONG // 2]}\n… {gone:,} letters are left out here …\n{text[-LONG // 2 :]}"
    return clean(text)


def one_line(text: str) -> str:
    """Clean text with every run of blanks as one space; of a very long one its beginning."""
    return " ".join(clean(text[:ONE_LINE]).split())
