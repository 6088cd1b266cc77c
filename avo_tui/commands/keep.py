"""Keeping: a version's sources, with its score and how to build it, for use elsewhere."""

from __future__ import annotations

import json
from argparse import Namespace
from pathlib import Path

from avo_tui.commands.named import print_json, run_of, version_of
from avo_tui.tables import moment, one_line, rate, score_lines, times
from engine.record.config import load
from engine.record.errors import ConfigError, LineageError
from engine.record.reader import Reader, Version
from engine.record.run import RunFolder


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
    extra = {
        "score.json": json.dumps(version.score.to_json(), indent=1) + "\n",
        "README.md": _readme(folder, version, [p.name for p in written]),
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
        rivals = "".join(f", {name} measured beside it" for name in baselines)
        print(f"v{version.version} of {folder.name} written to {directory}: {', '.join(files)}{rivals}")
    return 0


def _readme(folder: RunFolder, v: Version, names: list[str]) -> str:
    try:
        problem = load(folder.config).problem
    except ConfigError:
        problem = v.score.problem
    cuda = any(name.endswith(".cu") for name in names)
    units = " ".join(n for n in names if n.endswith((".cpp", ".cc", ".cxx", ".c", ".cu")))
    build = f"nvcc -O3 -std=c++17 -arch=native -shared -Xcompiler -fPIC {units} -o libattention.so" if cuda else (
        f"c++ -O3 -march=native -std=c++17 -fopenmp -shared -fPIC {units} -o libattention.so"
    )  # fmt: skip
    if "flags.txt" in names:
        build += " $(grep -v '^#' flags.txt)"
    return f"""# {problem}: version v{v.version} of run {folder.name}

{one_line(v.name or v.direction) or "The seed."}

Committed {moment(v.created_at)} as {v.commit}, {v.verdict}{f" {times(v.ratio)}" if v.ratio else ""}:
{rate(v.geomean_tflops)} geomean on {v.score.device}.

    {build}

It exports `attention_forward`; the flags above are a start, the scorer's own lie in the problem's `problem.toml`.
Check and time it on your machine with `avo score . --problem {problem}`. The scores it was committed with, also in
`score.json`:

```
{score_lines(v.score)}
```
"""
