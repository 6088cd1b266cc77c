"""Drawings: what is on a figure, as shapes with roles. How a role looks is the business of who paints it.

Coordinates are in points from the upper left corner. Text widths are estimated, so that a drawing needs no font.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

Anchor = Literal["start", "middle", "end"]
Point = tuple[float, float]
Area = tuple[float, float, float, float]  # left, top, right, bottom


@dataclass(frozen=True, slots=True)
class Path:
    """A line through points; `dash` is (on, off)."""

    points: tuple[Point, ...]
    role: str
    width: float = 1.0
    dash: tuple[float, float] | None = None
    opacity: float = 1.0


@dataclass(frozen=True, slots=True)
class Box:
    """A filled rectangle."""

    x: float
    y: float
    width: float
    height: float
    role: str
    opacity: float = 1.0
    tip: str = ""


@dataclass(frozen=True, slots=True)
class Dot:
    """A disc; a ring when `hollow`."""

    x: float
    y: float
    radius: float
    role: str
    opacity: float = 1.0
    hollow: bool = False
    tip: str = ""


@dataclass(frozen=True, slots=True)
class Text:
    """One line of text on its baseline; `halo` keeps what lies below it away, `turned` reads upwards."""

    x: float
    y: float
    text: str
    role: str = "ink"
    size: float = 11.0
    anchor: Anchor = "start"
    bold: bool = False
    halo: bool = False
    turned: bool = False


Shape = Path | Box | Dot | Text


@dataclass(slots=True)
class Drawing:
    """A figure being drawn: its size, what it says in a sentence, and its shapes from the ground up."""

    width: float
    height: float
    about: str
    shapes: list[Shape] = field(default_factory=list)

    def add(self, *shapes: Shape) -> None:
        """Put shapes on top."""
        self.shapes.extend(shapes)


def text_width(text: str, size: float, *, bold: bool = False) -> float:
    """About how wide a text is in a sans-serif face."""
    narrow = sum(c in "iljtfr.,:;'|!()[] 1" for c in text)
    wide = sum(c in "mwMW@%" for c in text)
    return size * (0.55 * len(text) - 0.22 * narrow + 0.28 * wide) * (1.06 if bold else 1.0)


def clipped(text: str, width: float, size: float) -> str:
    """The text, cut at a word where that is near, so that it is no wider."""
    if text_width(text, size) <= width:
        return text
    while text and text_width(text + "…", size) > width:
        text = text[:-1]
    head, _, tail = text.rpartition(" ")
    return (head if head and len(tail) < 12 else text).rstrip(" ,;:") + "…"


@dataclass(frozen=True, slots=True)
class Scale:
    """From values to points along one axis; logarithmic when `log`."""

    low: float
    high: float
    start: float
    end: float
    log: bool = False

    def __call__(self, value: float) -> float:
        if self.log:
            part = math.log(value / self.low) / math.log(self.high / self.low)
        else:
            part = (value - self.low) / (self.high - self.low)
        return self.start + part * (self.end - self.start)


def value_scale(values: Sequence[float], start: float, end: float, *, zero: bool = False) -> Scale:
    """An axis that shows all values with air above: logarithmic where they differ by more than six times."""
    low, high = min(values), max(values)
    if zero:
        return Scale(0.0, high * 1.16, start, end)
    if high / low > 6:
        return Scale(low / 1.3, high * 1.4, start, end, log=True)
    air = (high - low) or high * 0.1
    bottom = 0.0 if low < 0.5 * high else max(0.0, low - 0.15 * air)
    return Scale(bottom, high + 0.12 * air, start, end)


def ticks(scale: Scale, about: int) -> list[float]:
    """Round values on an axis."""
    if scale.log:
        decades = range(math.floor(math.log10(scale.low)), math.ceil(math.log10(scale.high)) + 1)
        found = [m * 10.0**d for d in decades for m in (1, 2, 5) if scale.low <= m * 10.0**d <= scale.high]
        return found if len(found) <= 2 * about else [v for v in found if f"{v:e}"[0] == "1"]
    raw = (scale.high - scale.low) / max(about, 1)
    size = 10.0 ** math.floor(math.log10(raw))
    step = next(m * size for m in (1, 2, 2.5, 5, 10) if m * size >= raw)
    first = math.ceil(scale.low / step - 1e-9)
    return [n * step for n in range(first, math.floor(scale.high / step + 1e-9) + 1)]


def label_of(value: float) -> str:
    """A tick's figure."""
    return f"{value:,.0f}" if value >= 1000 else f"{value:g}"


@dataclass(slots=True)
class Labels:
    """Places for texts where they do not cover each other, nor what must be seen."""

    taken: list[Area] = field(default_factory=list)
    shunned: list[Area] = field(default_factory=list)

    def keep(self, *areas: Area) -> None:
        """Nothing may be written there."""
        self.taken.extend(areas)

    def shun(self, *areas: Area) -> None:
        """Write there only where no other place is left."""
        self.shunned.extend(areas)

    def place(self, x: float, y: float, width: float, height: float, step: float, limits: Point) -> float | None:
        """The first free baseline from `y` on, going by `step`, within (top, bottom); None when there is none."""
        for shunned in (self.shunned, ()):
            row = y
            while limits[0] <= row - height and row <= limits[1]:
                area = (x, row - height, x + width, row + 0.3 * height)
                if not any(_overlap(area, other) for other in (*self.taken, *shunned)):
                    self.keep(area)
                    return row
                row += step
        return None


def _overlap(a: Area, b: Area) -> bool:
    return a[0] < b[2] and b[0] < a[2] and a[1] < b[3] and b[1] < a[3]
