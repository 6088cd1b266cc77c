"""Judging candidates by hand: score one, or measure several side by side."""

from __future__ import annotations

import os
import statistics
import sys
import tempfile
from argparse import Namespace
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from avo_tui.commands.named import print_json, problem_of, run_and_version
from avo_tui.commands.show import integrity_text
from avo_tui.launch import require
from avo_tui.model.show import unit_for
from avo_tui.scoring import OnEvent, ask
from avo_tui.summary import ratio
from avo_tui.tables import clean, one_line, percent, rate, score_lines, table, times
from engine.record.errors import ScorerError, UsageError
from engine.record.scores import Score, geomean

if TYPE_CHECKING:
    from engine.scorer.problem import Configuration, Problem

SOURCES = frozenset({".cpp", ".cc", ".cxx", ".c", ".cu", ".h", ".hpp", ".hh", ".inc", ".cuh"})
BASELINE = "baseline:"


def score(arguments: Namespace) -> int:
    """`avo score`: check and time a candidate; exit code 1 when it is not correct."""
    problem = problem_of(arguments.problem)
    if arguments.build_only:
        return _build_only(arguments, problem)
    require(problem.language)
    chosen = _configurations(arguments.configuration, problem)
    with _sources([arguments.source], arguments.runs) as (source,):
        result = ask("score", {
            "source": str(source),
            "problem": str(problem.folder),
            "suite": arguments.suite,
            "configurations": chosen,
            "baselines": not arguments.no_baselines,
            "threads": arguments.threads,
            "unsafe_no_sandbox": arguments.unsafe_no_sandbox,
        }, progress(sys.stderr.isatty() and not arguments.json))  # fmt: skip
    found = Score.from_json(result)
    if arguments.json:
        print_json(dict(result))
    else:
        _print_score(found)
    return 0 if found.correct else 1


def _build_only(arguments: Namespace, problem: Problem) -> int:
    """Compile and look at the machine code, without the device."""
    with _sources([arguments.source], arguments.runs) as (source,):
        result = ask("build", {
            "source": str(source),
            "problem": str(problem.folder),
            "architecture": arguments.architecture,
            "unsafe_no_sandbox": arguments.unsafe_no_sandbox,
        }, progress(sys.stderr.isatty() and not arguments.json))  # fmt: skip
    if arguments.json:
        print_json(dict(result))
    elif result["built"]:
        print(f"{problem.name}  built in {result['seconds']:.1f} s, not run\n{clean(result['text'])}")
    else:
        print(f"{problem.name}  NOT built ({result['stage']}): {one_line(result['reason'])}")
        print(clean(result["log"]).rstrip())
    return 0 if result["built"] else 1


def _print_score(found: Score) -> None:
    verdict = "correct" if found.correct else f"NOT correct ({found.stage}): {one_line(found.reason)}"
    print(f"{found.problem}  {verdict}  in {found.seconds:.1f} s on {found.device}")
    if found.log and not found.correct:
        print(clean(found.log).rstrip())
    if found.configurations:
        print("\n" + score_lines(found))
    if found.geomean_tflops is not None:
        rivals = {n: geomean([c.tflops for c in values]) for n, values in found.baselines.items()}
        beside = "".join(f", {times(found.geomean_tflops / g)} {n}" for n, g in rivals.items() if g)
        print(f"geomean {rate(found.geomean_tflops)}{beside}")
    print(integrity_text(found.integrity))


def _configurations(names: Sequence[str], problem: Problem) -> list[str] | None:
    known = [c.name for c in problem.configurations]
    if unknown := [n for n in names if n not in known]:
        raise UsageError(f"problem {problem.name} has no configuration {unknown[0]!r}; it has {', '.join(known)}")
    return list(names) or None


@contextmanager
def _sources(named: Sequence[str], runs: str | None) -> Iterator[list[Path]]:
    """The folders or files that hold the named candidates; versions of runs are written to a scratch folder."""
    with tempfile.TemporaryDirectory(prefix="avo-") as scratch:
        yield [_source(name, runs, Path(scratch) / str(i)) for i, name in enumerate(named)]


def _source(name: str, runs: str | None, scratch: Path) -> Path:
    path = Path(name).expanduser()
    if path.is_file():
        return path.absolute()
    if path.is_dir():
        if not any(p.suffix in SOURCES for p in path.iterdir()):
            raise UsageError(f"{name} holds no sources ({', '.join(sorted(SOURCES))})")
        return path.absolute()
    if "@" in name:
        from engine.lineage import Lineage

        folder, version = run_and_version(name, runs)
        Lineage(folder.lineage).export(version.version, scratch)
        return scratch
    raise UsageError(f"no source {name!r}; name a folder of sources, one source file, or RUN@vN")


def progress(shown: bool) -> OnEvent | None:
    """A function that shows a scorer's progress on one line of standard error, or None."""
    if not shown:
        return None

    def show(message: Mapping[str, Any]) -> None:
        if message.get("event") != "progress":
            return
        of = message.get("of") or 0
        count = f" {message.get('done')}/{of}" if of else ""
        text = f"{message.get('phase', '')} {message.get('configuration') or ''}{count} {message.get('text') or ''}"
        # The line is replaced by the next one, and cleared by the result.
        print(f"\r\x1b[K{one_line(text, os.get_terminal_size(2).columns - 1)}\r", end="", file=sys.stderr, flush=True)

    return show


@dataclass(frozen=True, slots=True)
class Measured:
    """One source's figures: for each configuration mean and standard deviation in TFLOPS, over the rounds."""

    name: str
    mean: tuple[float | None, ...]
    std: tuple[float | None, ...]
    failure: str = ""

    @property
    def geomean(self) -> float | None:
        """Geometric mean over the configurations."""
        return geomean(self.mean)


def bench(arguments: Namespace) -> int:
    """`avo bench`: candidates and baselines in interleaved rounds; exit code 1 when one is not correct."""
    problem = problem_of(arguments.problem)
    require(problem.language)
    chosen = _configurations(arguments.configuration, problem)
    shapes = [c for c in problem.configurations if chosen is None or c.name in chosen]
    rivals = _baselines(problem)
    names = [*arguments.source, *(r.removeprefix(BASELINE) for r in rivals)]
    with _sources(arguments.source, arguments.runs) as paths:
        result = ask("rounds", {
            "sources": [*map(str, paths), *rivals],
            "problem": str(problem.folder),
            "configurations": chosen,
            "rounds": arguments.repeats,
            "first": 0,
            "threads": arguments.threads,
            "unsafe_no_sandbox": arguments.unsafe_no_sandbox,
        }, progress(sys.stderr.isatty() and not arguments.json))  # fmt: skip
    measured = [_measured(i, name, result, shapes) for i, name in enumerate(names)]
    if arguments.json:
        print_json({
            "problem": problem.name,
            "repeats": arguments.repeats,
            "configurations": [c.name for c in shapes],
            "sources": [{**asdict(m), "geomean_tflops": m.geomean} for m in measured],
            "integrity": result.get("integrity"),
        })  # fmt: skip
    else:
        print(_bench_table(measured, shapes))
    return 1 if any(m.failure for m in measured) else 0


def _baselines(problem: Problem) -> list[str]:
    """The baselines that take part: the one that every machine has."""
    return [f"{BASELINE}torch_sdpa"] if problem.device == "cpu" else [f"{BASELINE}torch_cudnn"]


def _measured(index: int, name: str, result: Mapping[str, Any], shapes: Sequence[Configuration]) -> Measured:
    rounds = result["rounds"]
    if result.get("configurations") not in (None, [c.name for c in shapes]):
        raise ScorerError(f"the scorer measured {result['configurations']}, not what was asked")
    columns = [[r["latency_us"][index][j] for r in rounds] for j in range(len(shapes))]
    figures = [[shape.flops / us / 1e6 for us in column if us] for shape, column in zip(shapes, columns, strict=True)]
    failed = next((r["failures"][index] for r in rounds if r["failures"][index]), None)
    return Measured(
        name=name,
        mean=tuple(statistics.fmean(f) if f else None for f in figures),
        std=tuple(statistics.stdev(f) if len(f) > 1 else None for f in figures),
        failure=f"{failed['stage']}: {failed['reason']}" if failed else "",
    )


def _bench_table(measured: Sequence[Measured], shapes: Sequence[Configuration]) -> str:
    """Mean and deviation of each source, and its ratio to the last one, which is a baseline."""
    last, unit = measured[-1], unit_for(value for m in measured for value in m.mean)
    columns: dict[str, list[str]] = {unit.name: [*(s.name for s in shapes), "geomean"]}
    for i, m in enumerate(measured):
        name = _short(m.name)
        columns[name] = [*map(unit.text, m.mean), unit.text(m.geomean)]
        columns[f"+-{' ' * i}"] = [*(percent(ratio(s, v)) for s, v in zip(m.std, m.mean, strict=True)), ""]
        if m is not last:
            pairs = zip((*m.mean, m.geomean), (*last.mean, last.geomean), strict=True)
            columns[f"ratio{' ' * i}"] = [times(ratio(a, b)) for a, b in pairs]
    failures = [f"{_short(m.name)}: {one_line(m.failure)}" for m in measured if m.failure]
    text = table([name.rstrip() for name in columns], zip(*columns.values(), strict=True))
    return "\n".join([text, f"(mean and deviation over the rounds; ratio to {_short(last.name)})", *failures])


def _short(name: str) -> str:
    return name if len(name) <= 24 else "…" + name[-23:]
