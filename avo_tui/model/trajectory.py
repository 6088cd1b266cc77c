"""The trajectory: the best version against the baselines, over versions or over time."""

from __future__ import annotations

import math

from avo_tui.model import show
from avo_tui.model.lines import Line, Row, fit, right
from avo_tui.model.plot import Canvas, ticks
from avo_tui.model.snapshot import Snapshot
from avo_tui.model.view import View
from engine.record.frozen import dataclass


@dataclass(frozen=True, slots=True)
class _Scale:
    """Maps TFLOPS to dots."""

    low: float
    high: float
    down: int
    log: bool

    def y(self, value: float) -> int:
        if self.log:
            part = math.log(value / self.low) / math.log(self.high / self.low)
        else:
            part = (value - self.low) / (self.high - self.low)
        return round(part * (self.down - 1))


def trajectory(s: Snapshot, view: View) -> list[Row]:
    """The plot, `view.height` lines high. `view.order`: 0 over versions, 1 over time."""
    measured = [v for v in s.versions if v.geomean_tflops]
    if not measured:
        return [Row((("  no version yet: the seed is being scored", "dim"),))]
    unit = show.unit_for([v.geomean_tflops for v in measured] + [b.geomean_tflops for b in s.baselines.values()])
    margin = 7
    canvas = Canvas(view.width - margin - 1, view.height - 1, ascii=view.ascii)
    scale = _scale(s, canvas)
    _draw_best(s, canvas, scale, over_time=view.order % 2 == 1)
    _draw_baselines(s, canvas, scale, unit)
    axis = _axis(scale, canvas, unit)
    rows = [Row(((right(axis.get(y, ""), margin - 1), "dim"), ("┤" if y in axis else "│", "faint"), *line))
            for y, line in enumerate(canvas.rows())]  # fmt: skip
    return [*rows, Row(_below(s, view, margin, unit))]


def _scale(s: Snapshot, canvas: Canvas) -> _Scale:
    values = [v.geomean_tflops for v in s.versions if v.geomean_tflops]
    values += [b.geomean_tflops for b in s.baselines.values() if b.geomean_tflops]
    low, high = min(values), max(values)
    if high / low > 6:
        return _Scale(low / 1.15, high * 1.15, canvas.down, True)
    gap = (high - low) * 0.12 or high * 0.1
    return _Scale(max(low - gap, 0.0), high + gap, canvas.down, False)


def _draw_baselines(s: Snapshot, canvas: Canvas, scale: _Scale, unit: show.Unit) -> None:
    used: dict[int, int] = {}  # row -> the column up to which labels stand in it
    for name, score in sorted(s.baselines.items(), key=lambda item: -(item[1].geomean_tflops or 0.0)):
        if not score.geomean_tflops:
            continue
        y = scale.y(score.geomean_tflops)
        for x in range(0, canvas.across, 1 if canvas.ascii else 4):
            canvas.dot(x, y, "base", layer=1, mark="-")
            if not canvas.ascii:
                canvas.dot(x + 1, y, "base", layer=1)
        row = canvas.height - 1 - (y if canvas.ascii else y // 4)
        label = f" {name} {unit.text(score.geomean_tflops)} "
        at = used.get(row, 1)  # on its own line, beside a label that is there already: never on another's
        canvas.text(at, row, label[: canvas.width - at - 1], "base")
        used[row] = at + len(label) + 1


def _draw_best(s: Snapshot, canvas: Canvas, scale: _Scale, *, over_time: bool) -> None:
    last: tuple[int, int] | None = None
    points = s.trajectory()
    for i, p in enumerate(points):
        if not p.geomean:
            continue
        x, y = _x(s, (i, len(points)), p.at_s, canvas.across, over_time=over_time), scale.y(p.geomean)
        if not p.active or p.best is None:
            canvas.dot(x, y, "dim", layer=0, mark="o")
            continue
        y = scale.y(p.best)
        if last is not None:
            canvas.line(*last, x, last[1], "plot", layer=2, mark="=")
            canvas.line(x, last[1], x, y, "plot", layer=2, mark="|")
        canvas.dot(x, y, "plot", layer=3, mark="*")
        last = (x, y)
    if last is not None:
        canvas.line(*last, canvas.across - 1, last[1], "plot", layer=2, mark="=")


def _x(s: Snapshot, place: tuple[int, int], at_s: float, across: int, *, over_time: bool) -> int:
    i, count = place
    if not over_time:
        return round((i + 0.5) / count * (across - 1)) if count > 1 else 0
    whole = max((s.ended_at or s.taken_at) - s.created_at, 1.0)
    return round(min(max(at_s / whole, 0.0), 1.0) * (across - 1))


def _axis(scale: _Scale, canvas: Canvas, unit: show.Unit) -> dict[int, str]:
    marks = ticks(scale.low, scale.high, max(canvas.height // 3, 2), log=scale.log)
    rows: dict[int, str] = {}
    for value in marks:
        y = scale.y(value)
        row = canvas.height - 1 - (y if canvas.ascii else y // 4)
        figure = value / unit.scale
        rows.setdefault(row, f"{figure:.0f}" if figure >= 10 else f"{figure:.3g}")
    return rows


def _below(s: Snapshot, view: View, margin: int, unit: show.Unit) -> Line:
    first, last = s.versions[0], s.versions[-1]
    over_time = view.order % 2 == 1
    ends = ("0", show.duration(s.elapsed_s)) if over_time else (f"v{first.version}", f"v{last.version}")
    over = "over time" if over_time else "over versions"
    room = view.width - margin - 1
    middle = f"{unit.name} {over}".center(max(room - len(ends[0]) - len(ends[1]), 0))
    line = ((" " * (margin - 1), ""), ("└", "faint"), (ends[0], "dim"), (middle[:room], "quiet"), (ends[1], "dim"))
    return fit(line, view.width)
