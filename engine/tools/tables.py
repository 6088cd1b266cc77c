"""Scores, versions and attempts laid out as plain text, for a model and for a person. Pure functions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from engine.record.reader import Attempt, Version
from engine.record.scores import ConfigurationScore, Score, geomean, unit_of

NONE = "-"
_FIGURES = frozenset({NONE, "TFLOPS", "GFLOPS", "±%", "µs", "error"})


def score_table(score: Score, incumbent: Version | None, baselines: Mapping[str, Score]) -> str:
    """One line for each configuration: throughput, spread, time, error; ratios to the incumbent and baselines."""
    rivals = {f"/v{incumbent.version}": incumbent.score.configurations} if incumbent is not None else {}
    rivals |= {f"/{name}": own for name, own in score.baselines.items()}
    rivals |= {f"/{n}": s.configurations for n, s in baselines.items() if f"/{n}" not in rivals and s.configurations}
    scale, unit = unit_of(c.tflops for c in score.configurations)
    rows = [("configuration", unit, "±%", "µs", "error", *rivals)]
    for entry in score.configurations:
        ratios = (_ratio(entry.tflops, _tflops(own, entry.name)) for own in rivals.values())
        rows.append((entry.name, _figure(entry.tflops, scale), _spread(entry), *_figures(entry), *ratios))
    names = [c.name for c in score.configurations]
    means = (_ratio(score.geomean_tflops, geomean([_tflops(own, n) for n in names])) for own in rivals.values())
    rows.append(("geomean", _figure(score.geomean_tflops, scale), "", "", "", *means))
    reasons = [f"{c.name}: {c.reason}" for c in score.configurations if c.reason]
    return "\n".join([aligned(rows), *reasons]) if score.configurations else ""


def versions_table(versions: Sequence[Version]) -> str:
    """One line for each version, oldest first; `*` marks the active ones."""
    scale, unit = unit_of(v.geomean_tflops for v in versions)
    rows = [
        (f"v{v.version}", "*" if v.active else "", NONE if v.parent is None else f"v{v.parent}",
         _figure(v.geomean_tflops, scale), "" if v.ratio is None else f"{v.ratio:.3f}x", v.verdict, v.name)
        for v in versions
    ]  # fmt: skip
    return aligned([("", "", "from", unit, "step", "verdict", "name"), *rows]) if rows else ""


def attempts_table(attempts: Sequence[Attempt]) -> str:
    """One line for each attempt, oldest first, with the reason it ended where it did."""
    scale, unit = unit_of(a.geomean_tflops for a in attempts)
    rows = [
        (f"a{a.attempt}", "" if a.parent is None else f"on v{a.parent}", _figure(a.geomean_tflops, scale),
         "" if a.ratio is None else f"{a.ratio:.3f}x", a.verdict or a.stage, f"v{a.version}" if a.version else "",
         a.name[:60], a.reason[:120])
        for a in attempts
    ]  # fmt: skip
    return aligned([("", "", unit, "ratio", "outcome", "", "name", "reason"), *rows]) if rows else ""


def aligned(rows: Sequence[Sequence[str]]) -> str:
    """Columns two spaces apart; figures to the right, words to the left."""
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    lines = ("  ".join(_cell(cell, width) for cell, width in zip(row, widths, strict=True)) for row in rows)
    return "\n".join(line.rstrip() for line in lines)


def _cell(text: str, width: int) -> str:
    return text.rjust(width) if text[:1].isdigit() or text in _FIGURES else text.ljust(width)


def _tflops(entries: Sequence[ConfigurationScore], name: str) -> float | None:
    return next((e.tflops for e in entries if e.name == name), None)


def _figure(value: float | None, scale: float = 1.0) -> str:
    return NONE if value is None else f"{value / scale:.4g}"


def _figures(entry: ConfigurationScore) -> tuple[str, str]:
    error = NONE if entry.relative_error is None else f"{entry.relative_error:.1e}"
    return _figure(entry.latency_us), error


def _spread(entry: ConfigurationScore) -> str:
    return f"{100 * entry.tflops_std / entry.tflops:.1f}" if entry.tflops and entry.tflops_std is not None else NONE


def _ratio(value: float | None, rival: float | None) -> str:
    return f"{value / rival:.2f}x" if value and rival else NONE
