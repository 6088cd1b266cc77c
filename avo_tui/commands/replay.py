"""`avo replay`: a run that was, played again. Nothing is changed: an archive is laid out for the time only.

In a terminal it plays in the control room, elsewhere as progress lines.
"""

from __future__ import annotations

import signal
import sys
import tempfile
import time
from argparse import Namespace
from collections.abc import Iterator
from contextlib import contextmanager
from math import inf
from pathlib import Path

from avo_tui.commands.look import every
from avo_tui.commands.start import in_terminal, no_room
from avo_tui.follow import came_of, progress_line, since
from avo_tui.summary import Summaries
from engine.data import kernels_directory
from engine.record.errors import RunNotFound
from engine.record.run import RunFolder, find_run, runs_directory

RECORDED = "mha_cuda/h200-1122"
PATIENCE_S = 1.5
FASTEST = 3600.0


def replay(arguments: Namespace) -> int:
    """`avo replay [RUN|FOLDER|FILE]`: play it from its start, `--speed` times faster than it happened."""
    source = recorded(arguments.source, arguments.runs)
    with laid_out(source) as folder:
        Summaries(folder).close()  # a journal that cannot be read is said here, before the screen is taken
        why = no_room() if in_terminal() else ""
        if why and not arguments.plain:
            print(f"{why}; here are lines instead", file=sys.stderr)
        if arguments.plain or why or not in_terminal():
            return _lines(folder, arguments.speed)
        from avo_tui.attach import main

        return main(folder, readonly=True, replay=max(1.0, min(arguments.speed, FASTEST)))


def shipped() -> dict[str, Path]:
    """The recorded runs that come with AVO, by problem and name ("mha_cuda/h200-1122")."""
    found = sorted(kernels_directory().glob("*/lineages/*/manifest.json"))
    return {f"{p.parents[2].name}/{p.parent.name}": p.parent for p in found}


def _shipped_as(name: str) -> Path | None:
    """The one recorded run of that name; the problem may be left out where only one problem has it."""
    known = shipped()
    meant = [full for full in known if name in (full, full.partition("/")[2])]
    if len(meant) > 1:
        raise RunNotFound(f"{name!r} is what several recorded runs are called: say {' or '.join(meant)}")
    return known[meant[0]] if meant else None


def recorded(name: str | None, runs: str | None) -> RunFolder | Path:
    """What is to be played: a run's folder, or the file or folder of an archive."""
    known = shipped()
    if name is None:
        return known.get(RECORDED) or next(iter(known.values()), None) or find_run(runs_directory(runs), None)
    given = Path(name).expanduser()
    if given.is_file() or (given / "manifest.json").is_file():
        return given.absolute()
    if (given / "journal.db").is_file():
        return RunFolder(given.absolute())
    try:
        return find_run(runs_directory(runs), name)
    except RunNotFound as error:
        if (lineage := _shipped_as(name)) is not None:
            return lineage
        raise RunNotFound(f"{error}; recorded runs that came with AVO: {', '.join(known) or 'none'}") from error


@contextmanager
def laid_out(source: RunFolder | Path) -> Iterator[RunFolder]:
    """A run's folder as it is, or an archive laid out in a folder of its own for as long as it is looked at."""
    if isinstance(source, RunFolder):
        yield source
        return
    from engine.archive import unpack

    with _ended_by_signals(), tempfile.TemporaryDirectory(prefix="avo-replay-") as place:
        yield RunFolder(unpack(source, Path(place)).path)


@contextmanager
def _ended_by_signals() -> Iterator[None]:
    """SIGTERM and SIGHUP end this process in order, so that what was laid out is taken away."""

    def leave(number: int, _: object) -> None:
        raise SystemExit(128 + number)

    names = (signal.SIGTERM, signal.SIGHUP)
    before = [signal.signal(name, leave) for name in names]
    try:
        yield
    finally:
        for name, handler in zip(names, before, strict=True):
            signal.signal(name, handler)


def _lines(folder: RunFolder, speed: float) -> int:
    """The run's progress lines at that speed, waits shortened as in the room, then what came of it."""
    with Summaries(folder) as summaries:
        began = float(summaries.reader.meta("created_at") or 0.0)
        print(
            f"replay of run {folder.name}" + (f", {speed:g} times as fast as it was" if speed < inf else ""), flush=True
        )
        last = began
        for entry in every(summaries.reader, 0):
            if speed < inf and entry.at > last:
                time.sleep(min((entry.at - last) / speed, PATIENCE_S))
            last = max(last, entry.at)
            if line := progress_line(entry):
                print(f"{since(entry.at - began)}  {line}", flush=True)
        print("\n" + came_of(summaries.take()))
    return 0
