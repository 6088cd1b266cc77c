"""`make bench`, second part: where an evaluation's time goes, what the sandbox costs a build, and how well scores repeat.

    python tests/bench/evaluation.py [SOURCE] [PROBLEM]
    python tests/bench/evaluation.py --run FOLDER     the same split for every evaluation that a run made

Run it on a machine that does nothing else; the report says when it did.
"""

from __future__ import annotations

import json
import shutil
import sqlite3
import statistics
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests" / "scorer"))

from served import Scorer  # noqa: E402

REPEATS = 10


def main() -> int:
    """Print the three tables, or the one of a run."""
    if sys.argv[1:2] == ["--run"]:
        of_run(Path(sys.argv[2]))
        return 0
    source = Path(sys.argv[1] if len(sys.argv) > 1 else ROOT / "tests" / "scorer" / "honest" / "tiled.cpp").resolve()
    problem = Path(sys.argv[2] if len(sys.argv) > 2 else ROOT / "kernels" / "mha_cpu").resolve()
    scorer = Scorer()
    try:
        scorer.score(source, problem)  # torch, the sandbox and the cache are there from now on
        print(f"{source.name} on {problem.name}, sandbox {scorer.ask(op='probe')['sandbox']['tier']}\n")
        split(scorer, source, problem)
        builds(scorer, source, problem)
        repeat(scorer, source, problem)
    finally:
        scorer.close()
    return 0


def fresh(source: Path, folder: str, number: int) -> Path:
    """A copy of the source that no cache knows."""
    place = Path(folder) / f"c{number}"
    if source.is_dir():
        shutil.copytree(source, place)
    else:
        place.mkdir()
        shutil.copy(source, place)
    first = next(p for p in sorted(place.iterdir()) if p.suffix == ".cpp")
    first.write_text(first.read_text() + f"\n// {folder} {number}\n")
    return place


def split(scorer: Scorer, source: Path, problem: Path) -> None:
    """Build, candidate and everything else, per suite: of fresh sources, and of the same ones when they are built."""
    print(f"{'suite':<8}{'seconds':>9}{'build':>9}{'candidate':>11}{'rest':>9}{'build + candidate':>20}{'calls':>7}")
    with tempfile.TemporaryDirectory() as folder:
        places = [fresh(source, folder, number) for number in range(4)]
        for number, suite in enumerate(("quick", "quick", "full", "full", "quick", "quick", "full", "full")):
            s = scorer.score(places[number % 4], problem, suite=suite)
            assert s["correct"], s["reason"]
            work = s["build_seconds"] + s["candidate_seconds"]
            rest = s["seconds"] - work
            print(
                f"{suite:<8}{s['seconds']:>9.2f}{s['build_seconds']:>9.2f}{s['candidate_seconds']:>11.2f}{rest:>9.2f}"
                f"{work / s['seconds']:>20.0%}{s['integrity']['calls']:>7}{quiet(s)}"
            )
    print()


def of_run(folder: Path) -> None:
    """What the correct evaluations in a run's journal spent on building and running candidates, worst first."""
    with sqlite3.connect(f"file:{folder / 'journal.db'}?mode=ro", uri=True) as journal:
        scores = [json.loads(text) for (text,) in journal.execute("SELECT score FROM attempts WHERE correct")]
    spent = [(s["build_seconds"] + s["candidate_seconds"], s) for s in scores]
    spent.sort(key=lambda pair: pair[0] / pair[1]["seconds"])
    for work, s in spent[:5]:
        figure = f"{s['geomean_tflops'] * 1e3:.0f} GFLOPS"
        print(f"{s['suite']:<8}{figure:>12}{s['seconds']:>9.2f} s{work / s['seconds']:>7.0%}{quiet(s)}")
    whole = sum(s["seconds"] for _, s in spent)
    print(f"all {len(spent):>4} evaluations {whole:>11.2f} s{sum(w for w, _ in spent) / whole:>7.0%}")


def builds(scorer: Scorer, source: Path, problem: Path) -> None:
    """The same build with and without the sandbox."""
    seconds: dict[bool, list[float]] = {False: [], True: []}
    with tempfile.TemporaryDirectory() as folder:
        for number in range(REPEATS):
            for bare in (False, True):
                place = fresh(source, folder, 2 * number + bare)
                s = scorer.score(place, problem, configurations=["full_256"], unsafe_no_sandbox=bare)
                seconds[bare].append(s["build_seconds"])
    inside, bare_s = statistics.median(seconds[False]), statistics.median(seconds[True])
    print(f"build    in the sandbox {inside:.3f} s, bare {bare_s:.3f} s, ratio {inside / bare_s:.2f}\n")


def repeat(scorer: Scorer, source: Path, problem: Path) -> None:
    """The geomean of one kernel over ten evaluations."""
    scores = [scorer.score(source, problem, suite="full") for _ in range(REPEATS)]
    figures = [s["geomean_tflops"] * 1e3 for s in scores]
    mean = statistics.mean(figures)
    busy = sum(s["integrity"]["quiet"] is False for s in scores)
    print(f"repeat   {REPEATS} evaluations: {' '.join(f'{f:.1f}' for f in figures)} GFLOPS")
    print(f"         mean {mean:.1f}, coefficient of variation {statistics.stdev(figures) / mean:.2%}", end="")
    print(f"; the machine was not quiet in {busy} of {REPEATS}" if busy else "; the machine was quiet")


def quiet(score: dict[str, object]) -> str:
    """A remark when others used the machine."""
    integrity = score["integrity"]
    assert isinstance(integrity, dict)
    return "  (not quiet)" if integrity["quiet"] is False else ""


if __name__ == "__main__":
    raise SystemExit(main())
