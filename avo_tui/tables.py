"""Text for people: tables, figures and ages as plain text.

Everything that came from outside passes `clean` first, so that no text of a candidate, a tool or
a model can move the cursor, change colours or hide another line.
"""

from __future__ import annotations

import time
import unicodedata
from collections.abc import Iterable, Sequence

from avo_tui.model.show import Unit, unit_for
from avo_tui.summary import Summary, ratio
from engine.record.scores import ConfigurationScore, Score, throughput

NOTHING = "—"
_FIGURE = frozenset("0123456789.,-+%xe—")


def clean(text: str) -> str:
    """The text without control and direction-changing characters; tabs become spaces, newlines stay."""
    kept = (c if c == "\n" or unicodedata.category(c) not in ("Cc", "Cf", "Cs") else "" for c in text.expandtabs(4))
    return "".join(kept)


def one_line(text: str, width: int = 0) -> str:
    """The text on one clean line, clipped to `width` characters when that is given."""
    flat = " ".join(clean(text).split())
    return flat if not width or len(flat) <= width else flat[: width - 1] + "…"


def figure(value: float | None) -> str:
    """Four significant digits, never in exponent notation for what occurs here."""
    if value is None:
        return NOTHING
    return f"{value:,.0f}" if value >= 1000 else f"{value:.4g}"


def times(value: float | None) -> str:
    """A ratio, as 1.234x."""
    return NOTHING if value is None else f"{value:.3f}x" if value < 100 else f"{value:.0f}x"


def percent(value: float | None) -> str:
    """A fraction as a percentage."""
    return NOTHING if value is None else f"{100 * value:.1f}%"


def span(seconds: float | None) -> str:
    """A duration as people say it: 0.4 s, 12 s, 3 min 05 s, 2 h 10 min, 3 d 4 h."""
    if seconds is None:
        return NOTHING
    if seconds < 10:
        return f"{seconds:.1f} s"
    whole = int(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    if whole < 86400:
        return f"{whole // 3600} h {whole % 3600 // 60:02d} min"
    return f"{whole // 86400} d {whole % 86400 // 3600} h"


def moment(at: float) -> str:
    """A point in time, local, to the second."""
    return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(at))


def clock(at: float) -> str:
    """The time of day, local."""
    return time.strftime("%H:%M:%S", time.localtime(at))


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Columns under their heads; columns of figures are flush right, the others flush left."""
    cells = [list(head), *[[one_line(c) for c in row] for row in rows]]
    columns = list(zip(*cells, strict=True))
    widths = [max(map(len, column)) for column in columns]
    right = [all(set(cell) <= _FIGURE for cell in column[1:]) for column in columns]

    def line(row: Sequence[str]) -> str:
        placed = (c.rjust(w) if r else c.ljust(w) for c, w, r in zip(row, widths, right, strict=True))
        return "  ".join(placed).rstrip()

    return "\n".join(map(line, cells))


def rate(tflops: float | None) -> str:
    """A throughput with its unit: 1,668 TFLOPS, 61.4 GFLOPS."""
    return throughput(tflops) if tflops else NOTHING


def score_table(summary: Summary) -> str:
    """The per-configuration table of a run: seed, best, last attempt, each baseline, ratio and spread."""
    names, rows = list(summary.baselines), summary.rows()
    unit = unit_for(c.tflops for r in rows for c in (r.seed, r.best, r.last, *r.baselines.values()) if c)
    head = [unit.name, "seed", "best", "last", *names, f"best/{names[0]}" if names else "ratio", "spread"]
    body = [
        [
            r.configuration,
            *[_tflops(c, unit) for c in (r.seed, r.best, r.last, *(r.baselines.get(n) for n in names))],
            times(r.ratio),
            percent(r.spread),
        ]
        for r in rows
    ]
    return table(head, [*body, _geomean_row(summary, names, unit)])


def _geomean_row(summary: Summary, names: Sequence[str], unit: Unit) -> list[str]:
    best, seed, last = summary.incumbent, summary.seed, summary.last
    means = [of.geomean_tflops if of else None for of in (seed, best, last)]
    means += [summary.baselines[n].geomean_tflops for n in names]
    return ["geomean", *map(unit.text, means), times(summary.against(names[0]) if names else None), ""]


def _tflops(score: ConfigurationScore | None, unit: Unit) -> str:
    return NOTHING if score is None else unit.text(score.tflops) if score.correct else "wrong"


def score_lines(score: Score) -> str:
    """A score vector beside its baselines, for `avo score` and `avo show`."""
    every = [*score.configurations, *(c for rivals in score.baselines.values() for c in rivals)]
    unit = unit_for(c.tflops for c in every)
    columns: dict[str, list[str]] = {
        "configuration": [c.name for c in score.configurations],
        unit.name: [_tflops(c, unit) for c in score.configurations],
        "spread": [percent(ratio(c.tflops_std, c.tflops)) for c in score.configurations],
        "latency us": [figure(c.latency_us) for c in score.configurations],
        "error": [NOTHING if c.relative_error is None else f"{c.relative_error:.1e}" for c in score.configurations],
    }
    for name, rivals in score.baselines.items():
        found = [next((r for r in rivals if r.name == c.name), None) for c in score.configurations]
        pairs = list(zip(score.configurations, found, strict=True))
        columns[name] = [_tflops(r, unit) for r in found]
        columns[f"/{name}"] = [times(ratio(c.tflops, r.tflops if r else None)) for c, r in pairs]
    columns["reason"] = [one_line(c.reason, 100) for c in score.configurations]
    filled = {head: cells for head, cells in columns.items() if any(cells)}
    return table(list(filled), zip(*filled.values(), strict=True))


def versions_table(summary: Summary) -> str:
    """Every version with what it gained over the one before it."""
    unit = unit_for(v.geomean_tflops for v in summary.versions)
    head = ["version", "", "commit", unit.name, "ratio", "interval", "verdict", "direction"]
    rows = []
    for v in summary.versions:
        mark = "*" if summary.incumbent and v.version == summary.incumbent.version else "" if v.active else "withdrawn"
        between = f"{v.low:.3f}..{v.high:.3f}" if v.low is not None and v.high is not None else NOTHING
        name = one_line(v.name or v.direction, 60)
        figures = [unit.text(v.geomean_tflops), times(v.ratio), between]
        rows.append([f"v{v.version}", mark, v.commit[:9], *figures, v.verdict, name])
    return table(head, rows)
