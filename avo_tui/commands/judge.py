"""Judging a candidate by hand: build it, check it, time it."""

from __future__ import annotations

import json
import os
import sys
import tempfile
from argparse import Namespace
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from avo_tui.commands.named import print_json, problem_for, run_and_version, verdict
from avo_tui.commands.show import integrity_text
from avo_tui.launch import require
from avo_tui.scoring import OnEvent, ask
from avo_tui.tables import clean, one_line, rate, score_lines, times
from engine.record.errors import UsageError
from engine.record.scores import SCORE_FILE, Score, geomean

if TYPE_CHECKING:
    from engine.scorer.problem import Problem

SOURCES = frozenset({".cpp", ".cc", ".cxx", ".c", ".cu", ".h", ".hpp", ".hh", ".inc", ".cuh"})
BASELINE = "baseline:"
PATIENCE_S, PATIENCE_RECORDED_S = 10.0, 90.0


def score(arguments: Namespace) -> int:
    """`avo score`: check and time a candidate; exit code 1 when it is not correct."""
    problem = problem_for(arguments.problem, [arguments.source], arguments.runs)
    if arguments.build_only:
        return _build_only(arguments, problem)
    require(problem.language)
    chosen = chosen_configurations(arguments.configuration, problem)
    with sources([arguments.source], arguments.runs) as (source,):
        recorded = _recorded(arguments.source, arguments.runs, problem)
        result = ask("score", {
            "source": str(source),
            "problem": str(problem.folder),
            "suite": arguments.suite,
            "configurations": chosen,
            "baselines": not arguments.no_baselines,
            "patience_s": PATIENCE_S if arguments.patience is None else arguments.patience,
            "recorded": _for_the_scorer(recorded, arguments.patience),
            "threads": arguments.threads,
            "unsafe_no_sandbox": arguments.unsafe_no_sandbox,
        }, progress(sys.stderr.isatty() and not arguments.json))  # fmt: skip
    found = Score.from_json(result)
    if recorded and recorded.source_hash not in ("", found.source_hash):
        recorded = None  # the sources were changed since
    with verdict():
        if arguments.json:
            print_json({**result, **({"recorded": recorded.to_json()} if recorded else {})})
        else:
            _print_score(found)
            if recorded:
                print(_against(recorded, found))
    return 0 if found.correct else 1


def _build_only(arguments: Namespace, problem: Problem) -> int:
    """Compile and look at the machine code, without the device."""
    with sources([arguments.source], arguments.runs) as (source,):
        result = ask("build", {
            "source": str(source),
            "problem": str(problem.folder),
            "architecture": arguments.architecture,
            "unsafe_no_sandbox": arguments.unsafe_no_sandbox,
        }, progress(sys.stderr.isatty() and not arguments.json))  # fmt: skip
    with verdict():
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


def _recorded(source: str, runs: str | None, problem: Problem) -> Score | None:
    """What is on record: the lineage's score of RUN@vN, or the score.json beside exported sources. None without."""
    path = Path(source).expanduser()
    if not path.exists():
        score = run_and_version(source, runs)[1].score
    elif (path / SCORE_FILE).is_file():
        try:
            score = Score.from_json(json.loads((path / SCORE_FILE).read_text("utf-8")))
        except (OSError, ValueError, TypeError, AttributeError):  # something else of this name
            return None
    else:
        return None
    return score if score.problem == problem.name and (score.source_hash or not path.exists()) else None


def _for_the_scorer(recorded: Score | None, asked_s: float | None) -> dict[str, Any] | None:
    """What the scorer is told of a record: whose figures they are, and how long to measure until they agree."""
    if recorded is None:
        return None
    return {
        "device": recorded.device,
        "source_hash": recorded.source_hash,
        "latency_us": {c.name: c.latency_us for c in recorded.configurations},
        "patience_s": PATIENCE_RECORDED_S if asked_s is None else asked_s,
    }


def _against(recorded: Score, found: Score) -> str:
    """The figure now beside the recorded one over the same configurations, and which of them was disturbed."""
    then = geomean([(recorded.of(c.name) or c).tflops for c in found.configurations])
    if not then or not found.geomean_tflops:
        return ""
    disturbed = [w for w, s in (("then", recorded), ("now", found)) if s.integrity.quiet is False]
    others = f" (others used this machine's cores {' and '.join(disturbed)})" if disturbed else ""
    return f"recorded   {rate(then)}, now {times(found.geomean_tflops / then)} of it{others}"


def chosen_configurations(names: Sequence[str], problem: Problem) -> list[str] | None:
    """The configurations that were asked for, None for all. Raises UsageError for one that the problem lacks."""
    known = [c.name for c in problem.configurations]
    if unknown := [n for n in names if n not in known]:
        raise UsageError(f"problem {problem.name} has no configuration {unknown[0]!r}; it has {', '.join(known)}")
    return list(names) or None


@contextmanager
def sources(named: Sequence[str], runs: str | None) -> Iterator[list[Path]]:
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
