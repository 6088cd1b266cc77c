"""Bars: every configuration of the best version beside the baselines, with error bars.

After the paper's figures 3 and 4: one panel for each group of configurations.
"""

from __future__ import annotations

from collections.abc import Sequence

from avo_tui.report.drawing import Box, Drawing, Path, Scale, Text, clipped, text_width, value_scale
from avo_tui.report.facts import Facts, group_of
from avo_tui.report.trajectory import WIDTH, axes, role_of
from engine.record.scores import ConfigurationScore, Score

PANEL = 270.0
LEGEND = 34.0
WIDE = 6  # configurations beyond which a panel takes a whole row
Series = tuple[str, str, Score]


def bars(facts: Facts) -> Drawing:
    """The incumbent beside the seed's rivals: mean, standard deviation, and the ratio to the strongest baseline."""
    s, groups = facts.summary, facts.groups
    best = s.incumbent
    columns = 2 if len(groups) > 1 and max(map(len, groups.values()), default=0) <= WIDE else 1
    rows = -(-len(groups) // columns)
    drawing = Drawing(WIDTH, LEGEND + max(rows, 1) * PANEL, "Throughput of each configuration beside the baselines")
    if best is None or not groups:
        drawing.add(Text(WIDTH / 2, 60, "no version was committed", "quiet", 14, "middle"))
        return drawing
    series: list[Series] = [(name, role_of(n), score) for n, (name, score) in enumerate(s.baselines.items())]
    series = [*reversed(series), (f"v{best.version}", "best", best.score)]
    _legend(drawing, series)
    for n, (group, names) in enumerate(groups.items()):
        left, top = (n % columns) * WIDTH / columns, LEGEND + (n // columns) * PANEL
        title = f"{group or 'configurations'} ({facts.unit[1]})"
        _panel(drawing, (left, top, left + WIDTH / columns, top + PANEL), title, names, series, facts.unit[0])
    return drawing


def _panel(
    drawing: Drawing,
    box: tuple[float, float, float, float],
    title: str,
    names: Sequence[str],
    series: Sequence[Series],
    unit: float,
) -> None:
    left, top, right, bottom = box[0] + 46, box[1] + 34, box[2] - 14, box[3] - 34
    found = [(name, [(role, score.of(name)) for _, role, score in series]) for name in names]
    tops = [(c.tflops + (c.tflops_std or 0.0)) / unit for _, group in found for _, c in group if c and c.tflops]
    if not tops:
        return
    y = value_scale(tops, bottom, top, zero=True)
    drawing.add(Text(left, top - 14, title, "ink", 12, bold=True))
    axes(drawing, y, (left, right), "", about=5)
    slot = (right - left) / len(names)
    wide = min(slot * 0.82 / len(series), 34.0)
    for i, (name, group) in enumerate(found):
        middle = left + (i + 0.5) * slot
        _cluster(drawing, group, middle - wide * len(series) / 2, wide, y, unit)
        label = group_of(name)[1]
        drawing.add(Text(middle, bottom + 16, clipped(label, slot - 4, 10.5), "quiet", 10.5, "middle"))


def _cluster(
    drawing: Drawing,
    group: Sequence[tuple[str, ConfigurationScore | None]],
    left: float,
    wide: float,
    y: Scale,
    unit: float,
) -> None:
    rivals = [c.tflops for role, c in group if role != "best" and c and c.tflops]
    for n, (role, c) in enumerate(group):
        if c is None or not c.tflops:
            continue
        value, x = c.tflops / unit, left + n * wide
        drawing.add(Box(x + 1, y(value), wide - 2, y.start - y(value), role, tip=_tip(c, unit)))
        over = y(value)
        if c.tflops_std:
            over = _error_bar(drawing, x + wide / 2, (value - c.tflops_std / unit, value + c.tflops_std / unit), y)
        text = f"{value:.0f}" if value >= 100 else f"{value:.1f}" if value >= 10 else f"{value:.2f}"
        if text_width(text, 8.5) <= wide + 3:
            drawing.add(Text(x + wide / 2, over - 4, text, "quiet", 8.5, "middle"))
            over -= 11
        if role == "best" and rivals:
            drawing.add(Text(x + wide / 2, over - 4, f"{c.tflops / max(rivals):.2f}×", "best", 10, "middle", bold=True))


def _error_bar(drawing: Drawing, x: float, between: tuple[float, float], y: Scale) -> float:
    low, high = y(max(between[0], 0.0)), y(between[1])
    drawing.add(Path(((x, low), (x, high)), "ink", 1.0))
    for end in (low, high):
        drawing.add(Path(((x - 3, end), (x + 3, end)), "ink", 1.0))
    return high


def _tip(c: ConfigurationScore, unit: float) -> str:
    spread = f" ± {c.tflops_std / unit:.3g}" if c.tflops_std else ""
    return f"{c.name}: {(c.tflops or 0.0) / unit:.4g}{spread}"


def _legend(drawing: Drawing, series: Sequence[Series]) -> None:
    x = 46.0
    for name, role, _ in series:
        drawing.add(Box(x, 10, 12, 12, role))
        drawing.add(Text(x + 18, 20, name, "quiet", 11, bold=role == "best"))
        x += 18 + text_width(name, 11, bold=True) + 22
