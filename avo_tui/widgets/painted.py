"""Painted: a widget of text lines that repaints only what changed.

Textual rewrites a dirty region whole, so the region is kept as small as the change: a clock
that moves on by a second costs a few bytes, not the screen.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, cast

from rich.cells import cell_len
from rich.segment import Segment
from textual.filter import ANSIToTruecolor
from textual.geometry import Region
from textual.strip import Strip
from textual.widget import Widget

from avo_tui.model.lines import Line, Span, clip, plain
from avo_tui.themes import Palette, to_ascii

if TYPE_CHECKING:
    from avo_tui.app import AvoApp

Painting = tuple[Line, str]  # a line and the role that is laid over it ("" for none)


class Painted(Widget):
    """Subclasses compute the screen's lines in `paint()`; `repaint()` shows them."""

    DEFAULT_CSS = "Painted { background: $background; }"

    _lines: Sequence[Painting] = ()
    _lines_for = (0, 0)  # the size that they were made for

    def __init__(self, id: str | None = None) -> None:
        super().__init__(id=id)
        self._strips: dict[int, tuple[Painting | None, int, Palette, Strip]] = {}  # the lines as they were drawn

    @property
    def avo(self) -> AvoApp:
        """The app, with its palette."""
        return cast("AvoApp", self.app)

    @property
    def palette(self) -> Palette:
        """The colours in use."""
        return self.avo.palette

    def paint(self, width: int, height: int) -> Sequence[Painting]:
        """The lines to show, at most `height`."""
        raise NotImplementedError

    def repaint(self, *, everything: bool = False) -> None:
        """Compute the lines again and refresh the cells that differ."""
        if not self.is_mounted:
            return
        width, height = self.size
        if width <= 0 or height <= 0:  # it is not seen; once it is, it has other lines than it had then
            self._lines_for = (0, 0)
            return
        before, self._lines, self._lines_for = self._lines, self.paint(width, height), (width, height)
        if everything or len(before) != len(self._lines):
            self.refresh()
            return
        dirty = [r for y in range(len(before)) if (r := _difference(before[y], self._lines[y], y, width))]
        if sum(r.area for r in dirty) > width * height * 2 // 3:
            self.refresh()
        elif dirty:
            self.refresh(*dirty)

    def on_resize(self) -> None:
        """A new size needs new lines, unless a picture had them already."""
        if self._lines_for != self.size:
            self.repaint(everything=True)

    def render_lines(self, crop: Region) -> list[Strip]:
        """The lines within `crop`, those that were not painted anew as they were drawn before.

        Textual's own way to a line asks for borders, paddings, tints and links each time; here are none.
        """
        left, right = crop.column_span
        self._paint_for_size()
        strips = [self._drawn(y) for y in crop.line_range]
        return strips if crop.width == self.size.width else [strip.crop(left, right) for strip in strips]

    def _drawn(self, y: int) -> Strip:
        line = self._lines[y] if y < len(self._lines) else None
        width, palette = self.size.width, self.palette
        kept = self._strips.get(y)
        if kept is not None and kept[0] is line and kept[1] == width and kept[2] is palette:
            return kept[3]
        strip = self._row(y)
        for line_filter in self.get_line_filters():
            if palette.ansi or not isinstance(line_filter, ANSIToTruecolor):  # the others name no such colours
                strip = strip.apply_filter(line_filter, self.background_colors[1])
        self._strips[y] = (line, width, palette, strip)
        return strip

    def _paint_for_size(self) -> None:
        """The first picture in a new size comes before the word of that size."""
        width, height = self.size
        if self._lines_for != (width, height):
            self._lines, self._lines_for = self.paint(width, height), (width, height)

    def render_line(self, y: int) -> Strip:
        """One line as segments."""
        self._paint_for_size()
        return self._row(y)

    def _row(self, y: int) -> Strip:
        width = self.size.width
        if y >= len(self._lines):
            return Strip([Segment(" " * width, self.palette.style(""))], width)
        return self._strip(*self._lines[y], width)

    def _strip(self, line: Line, over: str, width: int) -> Strip:
        palette, ascii = self.palette, self.avo.ascii
        segments: list[Segment] = []
        used = 0
        for text, role in clip(line, width):
            shown = to_ascii(text) if ascii else text
            style = palette.style(role)
            segments.append(Segment(shown, palette.laid_over(style, over) if over else style))
            used += cell_len(shown)
        if used < width:
            style = palette.style("")
            segments.append(Segment(" " * (width - used), palette.laid_over(style, over) if over else style))
        return Strip(segments, max(width, used))

    def text(self) -> str:
        """What is shown, as plain text: for copies, exports and tests."""
        lines = [plain(line).rstrip() for line, _ in self._lines]
        return "\n".join(to_ascii(line) if self.avo.ascii else line for line in lines)


def _difference(before: Painting, after: Painting, y: int, width: int) -> Region | None:
    """The part of a line in which two paintings differ; the whole line when cells do not line up.

    Textual writes a line from the widget's left edge to the region's right one, so that end is what counts.
    """
    if before == after:
        return None
    old, new = _cells(before[0], width), _cells(after[0], width)
    if before[1] != after[1] or old is None or new is None:
        return Region(0, y, width, 1)
    first = next((x for x in range(width) if old[x] != new[x]), None)
    if first is None:
        return None
    last = next(x for x in range(width - 1, -1, -1) if old[x] != new[x])
    return Region(first, y, last - first + 1, 1)


def _cells(line: Line, width: int) -> list[Span] | None:
    """A line as one (letter, role) for each cell, or None when a letter takes two cells or none."""
    cells: list[Span] = []
    for text, role in clip(line, width):
        if not text.isascii() and cell_len(text) != len(text):
            return None
        cells.extend((letter, role) for letter in text)
    cells.extend([(" ", "")] * (width - len(cells)))
    return cells
