"""The score table: every configuration by seed, best version, last attempt and baselines."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

from avo_tui import summary
from avo_tui.model import show
from avo_tui.model.lines import Line, Row, Span, left, right
from avo_tui.model.plot import spark
from avo_tui.model.snapshot import Snapshot
from avo_tui.model.view import View
from engine.record.frozen import dataclass

ORDERS = ("as given", "worst ratio first", "largest spread first")


@dataclass(frozen=True, slots=True)
class Figures:
    """One line of the table, TFLOPS; None where nothing was measured."""

    name: str
    seed: float | None
    best: float | None
    spread: float | None
    last: float | None
    baselines: Mapping[str, float | None]
    ratio: float | None
    course: tuple[float | None, ...]
    last_reason: str = ""


def figures(s: Snapshot) -> list[Figures]:
    """A line for each configuration, in the problem's order."""
    return [_figures(row, s) for row in s.rows()]


def _figures(row: summary.Row, s: Snapshot) -> Figures:
    last = row.last
    rival = row.baselines.get(s.rival or "")
    return Figures(
        row.configuration,
        row.seed.tflops if row.seed else None,
        row.best.tflops if row.best else None,
        row.spread,
        last.tflops if last else None,
        {name: c.tflops for name, c in row.baselines.items()},
        summary.ratio(row.best.tflops, rival.tflops) if row.best and rival else row.ratio,
        row.history,
        (last.reason or ("" if last.correct else "wrong")) if last else "",
    )


def whole(rows: list[Figures], s: Snapshot) -> Figures:
    """The geometric means, as one more line."""
    return Figures(
        "geomean",
        s.seed.geomean_tflops if s.seed else None,
        s.incumbent.geomean_tflops if s.incumbent else None,
        _mean([r.spread for r in rows]),
        s.last.geomean_tflops if s.last else None,
        {name: b.geomean_tflops for name, b in s.baselines.items()},
        s.against(s.rival) if s.rival else None,
        tuple(v.geomean_tflops for v in s.active),
        s.last.stage if s.last and not s.last.correct else "",
    )


def _mean(values: list[float | None]) -> float | None:
    known = [v for v in values if v is not None]
    return math.sqrt(sum(v * v for v in known)) / len(known) if known else None


def table(s: Snapshot, view: View) -> list[Row]:
    """The table with its heading; keys are configuration names."""
    rows = figures(s)
    if not rows:
        return [Row((("  no score yet: the seed and the baselines are being measured", "dim"),))]
    total = whole(rows, s)
    unit = show.unit_for([v for r in rows for v in (r.best, r.last, r.seed, *r.baselines.values())])
    columns = _columns(rows, total, unit, view)
    shown = [r for r in _ordered(rows, view.order) if view.wants(r.name)]
    lines = [Row(_heading(columns))]
    lines += [Row(_line(columns, r), r.name) for r in shown]
    return [*lines, Row(_line(columns, total, strong=True), "geomean")]


def _ordered(rows: list[Figures], order: int) -> list[Figures]:
    if order % len(ORDERS) == 1:
        return sorted(rows, key=lambda r: r.ratio or 0.0)
    if order % len(ORDERS) == 2:
        return sorted(rows, key=lambda r: -(r.spread or 0.0))
    return rows


@dataclass(frozen=True, slots=True)
class _Column:
    """One column: its heading, its width, its cell, and how early it is dropped when space is short (high first)."""

    title: str
    width: int
    cell: Callable[[Figures], Span]
    drop: int = 0
    to_left: bool = False


def _columns(rows: list[Figures], total: Figures, unit: show.Unit, view: View) -> list[_Column]:
    digits = max(len(unit.text(v)) for r in (*rows, total) for v in (r.seed, r.best, r.last, *r.baselines.values()))
    wide = max(digits + 2, 7)
    names = max(*(len(r.name) for r in rows), len("geomean"))
    rivals = sorted(total.baselines, key=lambda b: -(total.baselines[b] or 0.0))
    found = [
        _Column(unit.name, min(names + 2, 26), lambda r: (f" {r.name}", ""), to_left=True),
        _Column("seed", wide, lambda r: (unit.text(r.seed), "dim"), 6),
        _Column("best", wide, lambda r: (unit.text(r.best), "strong"), 0),
        _Column("± %", 6, lambda r: ("" if r.spread is None else f"{r.spread * 100:.1f}", "dim"), 4),
        _Column("last", wide, lambda r: (unit.text(r.last), ""), 3),
        _Column("Δ last", 9, _change, 8),
        *(_Column(_short(b), max(wide, len(_short(b)) + 2), lambda r, b=b: (unit.text(r.baselines.get(b)), "base"),  # type: ignore[misc]
                  2 if i == 0 else 9 + i) for i, b in enumerate(rivals)),
        _Column("ratio", 10, _ratio, 1),
        _Column("", 8, lambda r: ("", ""), 5, to_left=True),
    ]  # fmt: skip
    while sum(c.width for c in found) > view.width and len(found) > 2:
        found.remove(max(found, key=lambda c: c.drop))
    if found[-1].title == "":
        room = min(8 + view.width - sum(c.width for c in found), 22)
        found[-1] = _Column("trend", room, lambda r: ("  " + spark(r.course, room - 2, ascii=view.ascii), "plot"), 5,
                            to_left=True)  # fmt: skip
    return found


def _short(baseline: str) -> str:
    return baseline.removeprefix("torch_")[:10]


def _change(r: Figures) -> Span:
    if r.last is None:
        return (
            f"✗ {r.last_reason}"[:8] if r.name == "geomean" and r.last_reason else "✗" if r.last_reason else "",
            "bad",
        )
    if not r.best:
        return ("", "")
    change = r.last / r.best - 1
    return (show.percent(change), "good" if change > 0.005 else "bad" if change < -0.005 else "dim")


def _ratio(r: Figures) -> Span:
    if r.ratio is None:
        return ("—", "dim")
    band = max(2 * (r.spread or 0.0), 0.005)
    mark, role = ("▲", "good") if r.ratio > 1 + band else ("▼", "bad") if r.ratio < 1 - band else ("≈", "warn")
    return (f"{show.ratio(r.ratio)} {mark}", role)


def _heading(columns: list[_Column]) -> Line:
    return tuple((left(" " + c.title, c.width) if c.to_left else right(c.title, c.width), "dim") for c in columns)


def _line(columns: list[_Column], r: Figures, *, strong: bool = False) -> Line:
    spans: list[Span] = []
    for c in columns:
        text, role = c.cell(r)
        role = "strong" if strong and role in ("", "dim") else role
        spans.append((left(text, c.width) if c.to_left else right(text, c.width), role))
    return tuple(spans)
