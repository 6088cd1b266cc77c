"""What a person named on the command line: a run, a version, an attempt, a problem. Found, or said not to be there."""

from __future__ import annotations

import json
import re
import sys
from argparse import Namespace
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from avo_tui.cli import nobody_reads
from engine.data import kernels_directory
from engine.record.errors import ConfigError, RunNotFound, UsageError
from engine.record.reader import Attempt, Reader, Version
from engine.record.run import RunFolder, find_run, runs_directory

if TYPE_CHECKING:
    from engine.scorer.problem import Problem


def run_of(arguments: Namespace) -> RunFolder:
    """The run that the arguments name, or the newest one."""
    return find_run(runs_directory(arguments.runs), arguments.run)


def handle(folder: RunFolder) -> str:
    """How a person names this run on the command line: its name, or its path when it lies elsewhere."""
    return folder.name if folder.path.parent == runs_directory() else str(folder.path)


def number(text: str, letter: str) -> int:
    """The number of `v3` or `a12`; a bare number counts too."""
    match = re.fullmatch(rf"{letter}?(\d{{1,9}})", text, re.IGNORECASE)
    if match is None:
        raise UsageError(f"{text!r} does not name {'a version' if letter == 'v' else 'an attempt'}; write {letter}3")
    return int(match[1])


def version_of(reader: Reader, run: RunFolder, text: str) -> Version:
    """A version by its name; `best` is the incumbent."""
    if text == "best":
        found = reader.incumbent()
        if found is None:
            raise RunNotFound(f"run {run.name} has no version yet; 'avo log {handle(run)} --follow' shows what it does")
        return found
    wanted = number(text, "v")
    found = reader.version(wanted)
    if found is None:
        count, _ = reader.counts()
        there = f"it has {count} of them; 'avo versions {handle(run)}' lists them" if count else "it has none yet"
        raise RunNotFound(f"run {run.name} has no version v{wanted}; {there}")
    return found


def attempt_of(reader: Reader, run: RunFolder, text: str) -> Attempt:
    """An attempt by its name."""
    wanted = number(text, "a")
    found = reader.attempt(wanted)
    if found is None:
        _, count = reader.counts()
        there = f"it has {count} of them; 'avo attempts {handle(run)}' lists them" if count else "it has none yet"
        raise RunNotFound(f"run {run.name} has no attempt a{wanted}; {there}")
    return found


def run_and_version(text: str, runs: str | None) -> tuple[RunFolder, Version]:
    """`RUN@vN` or `RUN@best`, both of which must exist."""
    name, _, version = text.rpartition("@")
    if not name:
        raise UsageError(f"{text!r} does not name a version of a run; write RUN@v3 or RUN@best")
    run = find_run(runs_directory(runs), name)
    with Reader(run.journal) as reader:
        return run, version_of(reader, run, version)


def problem_of(text: str) -> Problem:
    """A shipped problem by its name, or a problem's folder by its path."""
    from engine.scorer.problem import load

    shipped = kernels_directory() / text
    given = Path(text).expanduser()
    if re.fullmatch(r"[A-Za-z0-9_-]+", text) and (shipped / "problem.toml").is_file():
        return load(shipped)
    if (given / "problem.toml").is_file() or given.name == "problem.toml":
        return load(given.absolute())
    names = ", ".join(shipped_problems())
    if given.is_dir():
        raise ConfigError(f"{text} has no problem.toml; a problem is a folder with one (shipped: {names})")
    raise ConfigError(f"no problem {text!r}; shipped: {names}; or give the path of your problem's folder")


def problem_of_run(folder: RunFolder) -> Problem:
    """The problem that a run evolves. Raises ConfigError when it is not on this machine."""
    from engine.record.config import load

    config = load(folder.config)
    return problem_of(config.problem_path if Path(config.problem_path).is_dir() else config.problem)


def problem_for(asked: str | None, sources: Sequence[str], runs: str | None) -> Problem:
    """The problem that was asked for or, without, the one of the runs whose versions are the sources."""
    if asked is not None:
        return problem_of(asked)
    found: dict[str, Problem] = {}
    for source in sources:
        if "@" not in source or Path(source).expanduser().exists():
            raise UsageError(f"which problem is {source} for? Add --problem P; only a version, RUN@vN, knows its own")
        problem = problem_of_run(run_and_version(source, runs)[0])
        found[str(problem.folder)] = problem
    if len(found) > 1:
        raise UsageError(f"these versions solve several problems ({', '.join(found)}); add --problem P")
    return next(iter(found.values()))


def shipped_problems() -> list[str]:
    """The names of the problems that come with AVO."""
    return sorted(p.parent.name for p in kernels_directory().glob("*/problem.toml"))


@contextmanager
def verdict() -> Iterator[None]:
    """What is printed here goes with an exit code, which stays when its reader has seen enough (`| head -1`)."""
    try:
        yield
        sys.stdout.flush()
    except BrokenPipeError:
        nobody_reads()


def print_json(value: Any) -> None:
    """One JSON value on standard output."""
    print(json.dumps(value, ensure_ascii=False, allow_nan=False))
