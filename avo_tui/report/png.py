"""Drawings as PNG, through Pillow, for slides and messages. Pillow is the extra `avo-tui[report]`.

Painted at four times the size and reduced to two, so that edges are smooth.
"""

from __future__ import annotations

from functools import cache
from itertools import pairwise
from pathlib import Path as File
from typing import Any

from avo_tui.report.colours import LIGHT
from avo_tui.report.drawing import Box, Dot, Drawing, Path, Point, Text

PAINTED, KEPT = 4, 2
FACES = ("DejaVuSans", "LiberationSans-Regular", "Arial", "Helvetica", "NotoSans-Regular")
BOLD = ("DejaVuSans-Bold", "LiberationSans-Bold", "Arial_Bold", "Helvetica-Bold", "NotoSans-Bold")
_PLAIN = str.maketrans({"×": "x", "µ": "u", "±": "+-", "—": "-", "–": "-", "²": "2", "→": ">", "≥": ">", "’": "'"})
INSTALL = "pip install 'avo-tui[report]' (or pip install pillow) for the pictures as PNG"


def available() -> bool:
    """Whether Pillow is here."""
    from importlib.util import find_spec

    return find_spec("PIL") is not None


def write(drawing: Drawing, file: File) -> None:
    """Paint a drawing on white paper."""
    from PIL import Image, ImageDraw

    size = (round(drawing.width * PAINTED), round(drawing.height * PAINTED))
    image = Image.new("RGB", size, LIGHT["ground"])
    brush = ImageDraw.Draw(image)
    for shape in drawing.shapes:
        if isinstance(shape, Path):
            _path(brush, shape)
        elif isinstance(shape, Box):
            corner = (shape.x + shape.width, shape.y + max(shape.height, 0.0))
            brush.rectangle((*_at((shape.x, shape.y)), *_at(corner)), fill=_colour(shape.role, shape.opacity))
        elif isinstance(shape, Dot):
            _dot(brush, shape)
        else:
            _text(image, brush, shape)
    kept = (round(drawing.width * KEPT), round(drawing.height * KEPT))
    image.resize(kept, Image.Resampling.LANCZOS).save(file, optimize=True, dpi=(144, 144))


def _at(point: Point) -> tuple[float, float]:
    return point[0] * PAINTED, point[1] * PAINTED


def _colour(role: str, opacity: float = 1.0) -> tuple[int, int, int]:
    """A role's colour, as it looks on the ground."""
    over, under = (bytes.fromhex(LIGHT[name][1:]) for name in (role, "ground"))
    red, green, blue = (round(o * opacity + u * (1 - opacity)) for o, u in zip(over, under, strict=True))
    return red, green, blue


def _path(brush: Any, path: Path) -> None:
    colour, width = _colour(path.role, path.opacity), max(1, round(path.width * PAINTED))
    for a, b in pairwise(path.points):
        for start, end in _dashes(a, b, path.dash) if path.dash else [(a, b)]:
            brush.line((_at(start), _at(end)), fill=colour, width=width)
    if not path.dash and path.width > 1.5:  # round the corners
        for x, y in path.points:
            r = path.width / 2
            brush.ellipse((*_at((x - r, y - r)), *_at((x + r, y + r))), fill=colour)


def _dashes(a: Point, b: Point, dash: tuple[float, float]) -> list[tuple[Point, Point]]:
    length = ((b[0] - a[0]) ** 2 + (b[1] - a[1]) ** 2) ** 0.5
    if length == 0:
        return []
    along = ((b[0] - a[0]) / length, (b[1] - a[1]) / length)
    found, at = [], 0.0
    while at < length:
        end = min(at + dash[0], length)
        found.append(((a[0] + along[0] * at, a[1] + along[1] * at), (a[0] + along[0] * end, a[1] + along[1] * end)))
        at += sum(dash)
    return found


def _dot(brush: Any, dot: Dot) -> None:
    box = (*_at((dot.x - dot.radius, dot.y - dot.radius)), *_at((dot.x + dot.radius, dot.y + dot.radius)))
    colour, ground = _colour(dot.role, dot.opacity), _colour("ground")
    edge = round((1.3 if dot.hollow else 0.8) * PAINTED)
    brush.ellipse(box, fill=ground if dot.hollow else colour, outline=colour if dot.hollow else ground, width=edge)


def _text(image: Any, brush: Any, text: Text) -> None:
    from PIL import Image, ImageDraw

    font, has_all = _font(text.size, text.bold)
    words = text.text if has_all else text.text.translate(_PLAIN)
    anchor = {"start": "ls", "middle": "ms", "end": "rs"}[text.anchor]
    halo = {"stroke_width": 2 * PAINTED, "stroke_fill": _colour("ground")} if text.halo else {}
    if not text.turned:
        if halo:
            brush.text(_at((text.x, text.y)), words, _colour("ground"), font, anchor, **halo)
        brush.text(_at((text.x, text.y)), words, _colour(text.role), font, anchor)
        return
    wide, high = round(font.getlength(words)) + 8, round(text.size * PAINTED * 1.5)
    side = Image.new("RGB", (wide, high), LIGHT["ground"])
    ImageDraw.Draw(side).text((wide / 2, high * 0.75), words, _colour(text.role), font, "ms")
    turned = side.rotate(90, expand=True)
    x, y = _at((text.x, text.y))
    image.paste(turned, (round(x - high * 0.75), round(y - wide / 2)))


@cache
def _font(size: float, bold: bool) -> tuple[Any, bool]:
    """A face of this machine, else the one inside Pillow; and whether it has every sign that is used."""
    from PIL import ImageFont

    for name in BOLD if bold else FACES:
        try:
            return ImageFont.truetype(f"{name}.ttf", round(size * PAINTED)), True
        except OSError:
            continue
    return ImageFont.load_default(round(size * PAINTED)), False
