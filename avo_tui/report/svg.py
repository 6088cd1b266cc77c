"""Drawings as SVG: text stays text, marks say what they are when pointed at, colours come from the page's variables."""

from __future__ import annotations

from html import escape

from avo_tui.report.drawing import Box, Dot, Drawing, Path, Shape, Text

FACE = "system-ui, -apple-system, 'Segoe UI', 'Helvetica Neue', Arial, 'DejaVu Sans', sans-serif"


def svg(drawing: Drawing) -> str:
    """One <svg> element, to be put into a page that defines a variable for each role."""
    size = f'viewBox="0 0 {drawing.width:g} {drawing.height:g}"'
    head = f'<svg {size} role="img" aria-label="{escape(drawing.about)}" font-family="{FACE}">'
    return "\n".join([head, *(_shape(s) for s in drawing.shapes), "</svg>"])


def _shape(shape: Shape) -> str:
    if isinstance(shape, Path):
        points = " ".join(f"{x:.1f},{y:.1f}" for x, y in shape.points)
        dash = f' stroke-dasharray="{shape.dash[0]:g} {shape.dash[1]:g}"' if shape.dash else ""
        paint = f'fill="none" stroke="var(--{shape.role})" stroke-width="{shape.width:g}"'
        return f'<polyline points="{points}" {paint}{dash}{_opacity(shape.opacity)} stroke-linejoin="round"/>'
    if isinstance(shape, Box):
        place = f'x="{shape.x:.1f}" y="{shape.y:.1f}" width="{shape.width:.1f}" height="{max(shape.height, 0):.1f}"'
        return _tipped(f'<rect {place} fill="var(--{shape.role})"{_opacity(shape.opacity)}', "rect", shape.tip)
    if isinstance(shape, Dot):
        place = f'cx="{shape.x:.1f}" cy="{shape.y:.1f}" r="{shape.radius:g}"'
        fill, edge = ("ground", shape.role) if shape.hollow else (shape.role, "ground")
        width = 1.3 if shape.hollow else 0.8
        paint = f'fill="var(--{fill})" stroke="var(--{edge})" stroke-width="{width}"'
        return _tipped(f"<circle {place} {paint}{_opacity(shape.opacity)}", "circle", shape.tip)
    return _text(shape)


def _text(text: Text) -> str:
    place = f'x="{text.x:.1f}" y="{text.y:.1f}" font-size="{text.size:g}" text-anchor="{text.anchor}"'
    bold = ' font-weight="600"' if text.bold else ""
    halo = ' stroke="var(--ground)" stroke-width="3.5" stroke-linejoin="round" paint-order="stroke"' * text.halo
    turned = f' transform="rotate(-90 {text.x:.1f} {text.y:.1f})"' if text.turned else ""
    return f'<text {place} fill="var(--{text.role})"{bold}{halo}{turned}>{escape(text.text)}</text>'


def _tipped(opened: str, name: str, tip: str) -> str:
    return f"{opened}><title>{escape(tip)}</title></{name}>" if tip else f"{opened}/>"


def _opacity(value: float) -> str:
    return f' opacity="{value:g}"' if value < 1 else ""
