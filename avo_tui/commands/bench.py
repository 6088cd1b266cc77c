"""`avo bench`: the paper's protocol (section 4.1): ten interleaved repeats, mean and deviation, beside every baseline.

The baselines are those of the problem that this machine has; the scorer says which.
"""

from __future__ import annotations

import statistics
import sys
from argparse import Namespace
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from avo_tui.commands.judge import chosen_configurations, progress, sources
from avo_tui.commands.named import print_json, problem_for, verdict
from avo_tui.launch import require
from avo_tui.model.show import Unit, unit_for
from avo_tui.scoring import ask
from avo_tui.summary import ratio
from avo_tui.tables import NOTHING, one_line, table, times
from engine.record.errors import ScorerError
from engine.record.frozen import dataclass
from engine.record.scores import geomean

if TYPE_CHECKING:
    from engine.scorer.problem import Configuration

BASELINE = "baseline:"
EVERY = f"{BASELINE}*"


@dataclass(frozen=True, slots=True)
class Measured:
    """One source over all repeats: mean and standard deviation in TFLOPS for each configuration, and of the geomean."""

    name: str
    baseline: bool
    mean: tuple[float | None, ...]
    std: tuple[float | None, ...]
    geomean_tflops: float | None
    geomean_std: float | None
    repeats: int
    failure: str = ""

    def over(self, rival: Measured) -> tuple[float | None, ...]:
        """This source's throughput over another's: each configuration, then the geomean."""
        pairs = zip((*self.mean, self.geomean_tflops), (*rival.mean, rival.geomean_tflops), strict=True)
        return tuple(ratio(a, b) for a, b in pairs)


def bench(arguments: Namespace) -> int:
    """Measure candidates and baselines side by side; exit code 1 when one is not correct."""
    problem = problem_for(arguments.problem, arguments.source, arguments.runs)
    require(problem.language)
    chosen = chosen_configurations(arguments.configuration, problem)
    shapes = [c for c in problem.configurations if chosen is None or c.name in chosen]
    with sources(arguments.source, arguments.runs) as paths:
        result = ask("rounds", {
            "sources": [*map(str, paths), EVERY],
            "problem": str(problem.folder),
            "configurations": chosen,
            "rounds": arguments.repeats,
            "first": 0,
            "rest_s": arguments.rest,
            "threads": arguments.threads,
            "unsafe_no_sandbox": arguments.unsafe_no_sandbox,
        }, progress(sys.stderr.isatty() and not arguments.json))  # fmt: skip
    names = [*arguments.source, *result["sources"][len(arguments.source) :]]
    measured = [_measured(i, name, result, shapes) for i, name in enumerate(names)]
    with verdict():
        if arguments.json:
            print_json(_json(problem.name, arguments.repeats, measured, shapes, result))
        else:
            print("\n".join([_text(measured, shapes), *felt(result["rounds"])]))
    return 1 if any(m.failure for m in measured) else 0


def _measured(index: int, name: str, result: Mapping[str, Any], shapes: Sequence[Configuration]) -> Measured:
    rounds = result["rounds"]
    if result["configurations"] != [c.name for c in shapes]:
        raise ScorerError(f"the scorer measured {result['configurations']}, not what was asked")
    rows = [_tflops(r["latency_us"][index], shapes) for r in rounds]
    failed = next((r["failures"][index] for r in rounds if r["failures"][index]), None)
    figures = [[value for value in column if value] for column in zip(*rows, strict=True)]
    means = [value for row in rows if (value := geomean(row))]
    return Measured(
        name=name.removeprefix(BASELINE),
        baseline=name.startswith(BASELINE),
        mean=tuple(statistics.fmean(f) if f else None for f in figures),
        std=tuple(_deviation(f) for f in figures),
        geomean_tflops=geomean([statistics.fmean(f) if f else None for f in figures]),
        geomean_std=_deviation(means),
        repeats=len(means),
        failure=f"{failed['stage']}: {failed['reason']}" if failed else "",
    )


def _tflops(latencies_us: Sequence[float | None], shapes: Sequence[Configuration]) -> list[float | None]:
    return [shape.flops / us / 1e6 if us else None for shape, us in zip(shapes, latencies_us, strict=True)]


def _deviation(values: Sequence[float]) -> float | None:
    return statistics.stdev(values) if len(values) > 1 else None


def _json(
    problem: str, repeats: int, measured: Sequence[Measured], shapes: Sequence[Configuration], result: Mapping[str, Any]
) -> dict[str, Any]:
    names = [c.name for c in shapes]
    rivals = [m for m in measured if m.baseline]

    def ratios(m: Measured) -> dict[str, dict[str, float | None]]:
        return {r.name: dict(zip([*names, "geomean"], m.over(r), strict=True)) for r in rivals if r is not m}

    return {
        "problem": problem,
        "repeats": repeats,
        "configurations": names,
        "sources": [{**asdict(m), "ratios": ratios(m)} for m in measured],
        "integrity": result.get("integrity"),
        "sensors": [r.get("sensors") or {} for r in result["rounds"]],
    }


def _text(measured: Sequence[Measured], shapes: Sequence[Configuration]) -> str:
    """Mean ± deviation of each source, then the ratio of each candidate to each baseline."""
    unit = unit_for(value for m in measured for value in m.mean)
    rows = [*(s.name for s in shapes), "geomean"]
    figures = {unit.name: rows, **{f"{short(m.name)}{i * ' '}": _column(m, unit) for i, m in enumerate(measured)}}
    rivals = [m for m in measured if m.baseline]
    pairs = [(m, r) for m in measured if not m.baseline for r in rivals]
    ratios = {f"{short(m.name)} / {r.name}{i * ' '}": list(map(times, m.over(r))) for i, (m, r) in enumerate(pairs)}
    parts = [_laid_out(figures), "", _laid_out({"ratio": rows, **ratios})] if pairs else [_laid_out(figures)]
    repeats = max(m.repeats for m in measured)
    parts += ["", f"mean ± standard deviation over {repeats} interleaved repeats (geomean: of each repeat's geomean)"]
    return "\n".join([*parts, *(f"{short(m.name)} FAILED: {one_line(m.failure)}" for m in measured if m.failure)])


def felt(rounds: Sequence[Mapping[str, Any]]) -> list[str]:
    """A line on what the device's sensors said during the rounds, where it has any."""
    seen = {
        name: [v for r in rounds for v in (r.get("sensors") or {}).get(name, ()) if v is not None]
        for name in ("clock_mhz", "power_w", "temperature_c")
    }
    units = zip(seen.values(), ("MHz", "W", "°C"), strict=True)
    parts = [f"{min(values):.0f} to {max(values):.0f} {unit}" for values, unit in units if values]
    return [f"device after each configuration: {', '.join(parts)}"] if parts else []


def _laid_out(columns: Mapping[str, Sequence[str]]) -> str:
    return table([name.rstrip() for name in columns], zip(*columns.values(), strict=True))


def _column(m: Measured, unit: Unit) -> list[str]:
    """Figures of one width, so that the signs stand below each other."""
    pairs = list(zip((*m.mean, m.geomean_tflops), (*m.std, m.geomean_std), strict=True))
    means, spreads = [unit.text(mean) for mean, _ in pairs], [NOTHING if s is None else unit.text(s) for _, s in pairs]
    wide, deep = max(map(len, means)), max(map(len, spreads))
    return [f"{mean.rjust(wide)} ± {spread.rjust(deep)}" for mean, spread in zip(means, spreads, strict=True)]


def short(name: str) -> str:
    """A source's name, its end when it is long."""
    return name if len(name) <= 24 else "…" + name[-23:]
