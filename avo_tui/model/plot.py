"""Plots in text: sparklines of blocks and a braille canvas, each with an ASCII twin."""

from __future__ import annotations

import math
from collections.abc import Sequence

from avo_tui.model.lines import Line, Span

_BLOCKS = "▁▂▃▃▄▅▅▆"  # never full: rows of them stay apart
_ASCII_BLOCKS = "_.:-=+*#"
_TEXT = 99  # letters lie above every layer
_DOTS = ((0x01, 0x08), (0x02, 0x10), (0x04, 0x20), (0x40, 0x80))  # [row][column] of a braille cell


def spark(values: Sequence[float | None], width: int, *, ascii: bool = False) -> str:
    """The course of a few values in `width` cells, on a log scale; a gap where nothing was measured."""
    known = [v for v in values if v and v > 0]
    if not known or width <= 0:
        return ""
    low, high = math.log(min(known)), math.log(max(known))
    marks = _ASCII_BLOCKS if ascii else _BLOCKS
    cells = [_best(values, i, width) for i in range(min(width, len(values)))]
    span = max(high - low, 1e-9)
    level = [None if v is None else round((math.log(v) - low) / span * 7) if high - low > 1e-3 else 3 for v in cells]
    return "".join(" " if n is None else marks[n] for n in level)


def _best(values: Sequence[float | None], cell: int, width: int) -> float | None:
    if len(values) <= width:
        return values[cell] or None
    part = values[cell * len(values) // width : (cell + 1) * len(values) // width]
    return max((v for v in part if v), default=None)


class Canvas:
    """A grid of dots, two wide and four high in each cell; higher layers colour a cell over lower ones."""

    def __init__(self, width: int, height: int, *, ascii: bool = False) -> None:
        self.ascii = ascii
        self.width, self.height = max(width, 1), max(height, 1)
        self.across, self.down = (self.width, self.height) if ascii else (self.width * 2, self.height * 4)
        self._bits = [[0] * self.width for _ in range(self.height)]
        self._layer = [[-1] * self.width for _ in range(self.height)]
        self._role = [[""] * self.width for _ in range(self.height)]
        self._mark = [[" "] * self.width for _ in range(self.height)]

    def dot(self, x: int, y: int, role: str, *, layer: int = 0, mark: str = "*") -> None:
        """Set one dot; (0, 0) is the lower left. `mark` is its character in ASCII."""
        if not (0 <= x < self.across and 0 <= y < self.down):
            return
        y = self.down - 1 - y
        column, row = (x, y) if self.ascii else (x // 2, y // 4)
        if self._layer[row][column] == _TEXT:
            return
        if not self.ascii:
            self._bits[row][column] |= _DOTS[y % 4][x % 2]
        if layer >= self._layer[row][column]:
            self._layer[row][column] = layer
            self._role[row][column] = role
            self._mark[row][column] = mark

    def line(self, x1: int, y1: int, x2: int, y2: int, role: str, *, layer: int = 0, mark: str = "*") -> None:
        """A straight line of dots."""
        steps = max(abs(x2 - x1), abs(y2 - y1), 1)
        for i in range(steps + 1):
            self.dot(x1 + (x2 - x1) * i // steps, y1 + (y2 - y1) * i // steps, role, layer=layer, mark=mark)

    def text(self, column: int, row: int, text: str, role: str) -> None:
        """Letters over the dots, row 0 at the top."""
        for i, letter in enumerate(text):
            if 0 <= row < self.height and 0 <= column + i < self.width:
                self._bits[row][column + i] = -ord(letter)
                self._mark[row][column + i] = letter
                self._role[row][column + i] = role
                self._layer[row][column + i] = _TEXT

    def rows(self) -> list[Line]:
        """The drawing, top line first."""
        return [self._row(y) for y in range(self.height)]

    def _row(self, y: int) -> Line:
        spans: list[Span] = []
        for x in range(self.width):
            letter = self._letter(x, y)
            role = self._role[y][x]
            if spans and spans[-1][1] == role:
                spans[-1] = (spans[-1][0] + letter, role)
            else:
                spans.append((letter, role))
        return tuple(spans)

    def _letter(self, x: int, y: int) -> str:
        bits = self._bits[y][x]
        if self.ascii:
            return self._mark[y][x]
        return chr(-bits) if bits < 0 else chr(0x2800 + bits) if bits else " "


def ticks(low: float, high: float, count: int, *, log: bool) -> list[float]:
    """Up to `count` round values between `low` and `high`, for an axis."""
    if log:
        decades = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
        for steps in ((1, 2, 5), (1, 3), (1,)):
            found = [m * 10.0**e for e in decades for m in steps if low <= m * 10.0**e <= high]
            if len(found) <= count:
                return found
        return found[:: math.ceil(len(found) / max(count, 1))]
    rough = (high - low) / max(count, 1) or 1.0
    power = 10.0 ** math.floor(math.log10(rough))
    step = next((m * power for m in (1, 2, 2.5, 5, 10) if m * power >= rough), 10 * power)
    first = math.ceil(low / step) * step
    return [first + i * step for i in range(int((high - first) / step + 1e-9) + 1)]
