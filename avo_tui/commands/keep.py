"""Keeping: a version's sources, with its score and how to build it, for use elsewhere."""

from __future__ import annotations

import json
import re
from argparse import Namespace
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from avo_tui.commands.named import print_json, problem_of_run, run_of, version_of
from avo_tui.tables import moment, one_line, rate, score_lines, times
from engine.record.errors import ConfigError, LineageError
from engine.record.reader import Reader, Version
from engine.record.run import RunFolder
from engine.record.scores import SCORE_FILE, Score

if TYPE_CHECKING:
    from engine.scorer.problem import Problem


HEADER = "avo_abi.h"


def export(arguments: Namespace) -> int:
    """`avo export RUN vN -o DIR`: the sources, score.json, and a README of how to build and check them."""
    from engine.lineage import Lineage

    folder = run_of(arguments)
    with Reader(folder.journal) as reader:
        version = version_of(reader, folder, arguments.version)
        baselines = {name: s.configurations for name, s in reader.baselines().items()}
    if not folder.lineage.is_dir():
        raise LineageError(f"{folder.lineage} is missing; the versions' sources lay there")
    directory = Path(arguments.output).expanduser().absolute()
    written = Lineage(folder.lineage).export(version.version, directory)
    problem = _problem(folder)
    score = replace(version.score, baselines=version.score.baselines or baselines)
    extra = {
        **_header(problem, directory),
        SCORE_FILE: json.dumps(score.to_json(), indent=1) + "\n",
        "README.md": _readme(folder, version, score, problem, [p.name for p in written]),
    }
    try:
        for name, text in extra.items():
            (directory / name).write_text(text, "utf-8")
    except OSError as error:
        raise ConfigError(f"cannot write to {directory}: {error.strerror}") from error
    files = [*[str(p.relative_to(directory)) for p in written], *extra]
    if arguments.json:
        print_json({"run": folder.name, "version": version.version, "directory": str(directory), "files": files})
    else:
        print(f"v{version.version} of {folder.name} written to {directory}: {', '.join(files)}")
    return 0


def _problem(folder: RunFolder) -> Problem | None:
    """The run's problem, for its flags and header; None when it is not on this machine."""
    try:
        return problem_of_run(folder)
    except ConfigError:
        return None


def _header(problem: Problem | None, directory: Path) -> dict[str, str]:
    """The ABI's header, when the sources include it and do not bring it."""
    header = problem.folder / HEADER if problem else None
    sources = [p.read_text("utf-8", "replace") for p in directory.iterdir() if p.is_file()]
    wanted = any(f'"{HEADER}"' in text for text in sources) and not (directory / HEADER).exists()
    return {HEADER: header.read_text("utf-8")} if wanted and header and header.is_file() else {}


def _readme(folder: RunFolder, v: Version, score: Score, problem: Problem | None, names: list[str]) -> str:
    return f"""# {score.problem}: version v{v.version} of run {folder.name}

{one_line(v.name or v.direction) or "The seed."}

Committed {moment(v.created_at)} as {v.commit}, {v.verdict}{f" {times(v.ratio)}" if v.ratio else ""}:
{rate(v.geomean_tflops)} geomean on {score.device}. Build it, as the scorer did but outside of its sandbox:

    {_build(score, problem, names)}

It exports `attention_forward`. Check and time it on your machine with `avo score . --problem {score.problem}`.
Its scores beside the baselines of its run, also in `score.json`:

```
{score_lines(score)}
```
"""


def _build(score: Score, problem: Problem | None, names: list[str]) -> str:
    """The compiler's command line: the problem's own flags, and the candidate's."""
    units = [n for n in names if n.endswith((".cpp", ".cc", ".cxx", ".c", ".cu"))]
    own = ["$(grep -v '^#' flags.txt)"] if "flags.txt" in names else []
    if any(n.endswith(".cu") for n in names):
        arch = re.search(r"sm_\w+", score.device)
        flags = [*(problem.build.flags if problem else ("-O3", "-std=c++17"))]
        start = ["nvcc", *flags, f"-arch={arch[0] if arch else 'native'}", "-shared", "-Xcompiler=-fPIC"]
    else:
        start = ["c++", *(problem.build.flags if problem else ("-O3", "-march=native", "-fopenmp")), "-fPIC", "-shared"]
    return " ".join([*start, *own, "-I.", *units, "-o libattention.so"])
