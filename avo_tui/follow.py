"""Following: a run as lines, for a pipe, a log file, a dumb terminal or a screen reader.

It only reads. Leaving it leaves the run going; the second ctrl-C within three seconds stops the run.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import suppress

from avo_tui.commands.named import handle
from avo_tui.launch import Started, last_line
from avo_tui.plain import Listener
from avo_tui.summary import Summaries, Summary
from avo_tui.tables import one_line, rate, score_table, span, times, versions_table
from engine.record import events as ev
from engine.record.commands import send
from engine.record.errors import AvoError
from engine.record.reader import Entry, Reader
from engine.record.run import RunFolder

POLL_S = 0.2
AGAIN_S = 3.0
STOP_S = 60.0
ENDED = ("finished", "crashed")
QUIET = {"spent", "tool_started", "tool_finished", "knowledge", "plan", "profile", "step", "note", "said"}
QUIET_DIRECTIONS = {"offered", "improved", "matched", "regressed", "incorrect"}


def follow(
    folder: RunFolder, *, after: int = 0, started: Started | None = None, listener: Listener | None = None
) -> int:
    """Print a run's progress until it ends, then what came of it. Returns an exit code.

    With a `listener`, what is typed meanwhile is obeyed, and the lines are words without columns.

    0 when the run ended as it should or was left running, 2 when its engine died; of an engine that was
    `started` here its own code: 1 when the run was refused, such as for a seed that is not correct.
    """
    with Summaries(folder) as summaries:
        try:
            ended = _watch(summaries, after, listener)
        except KeyboardInterrupt:
            ended = _leave(folder, summaries)
        if not ended:
            return 0
        summary = summaries.take()
    print("\n" + report_text(summary, folder), flush=True)
    code = (started.code() if started else None) or (2 if summary.state == "crashed" else 0)
    if code:
        print(f"avo: {_trouble(folder, summary, started)}", file=sys.stderr)
    return code if code in (0, 1) else 2


def _trouble(folder: RunFolder, summary: Summary, started: Started | None) -> str:
    said = one_line(last_line(folder, started.log_from if started else 0), 300)
    if summary.state == "finished":
        return said or summary.reason
    return f"the engine of run {folder.name} died: {said or 'it said nothing'}; 'avo resume {handle(folder)}' goes on"


def _watch(summaries: Summaries, after: int, listener: Listener | None) -> bool:
    """Print lines as they come; True once the run has ended, False when the person leaves before."""
    began = float(summaries.reader.meta("created_at") or time.time())
    while True:
        if not summaries.there() and not _back(summaries, listener):
            return False
        ended = summaries.take().state in ENDED
        for entry in _news(summaries.reader, after):
            after = entry.seq
            if line := progress_line(entry, plain=listener is not None):
                print(f"{since(entry.at - began)}  {line}", flush=True)
        if ended:
            return True
        if listener is None:
            time.sleep(POLL_S)
        elif not listener.wait(POLL_S):
            print(f"run {summaries.folder.name} goes on; 'avo attach {handle(summaries.folder)}' joins it again")
            return False


def _back(summaries: Summaries, listener: Listener | None) -> bool:
    """Wait for a folder that is gone, and open its journal again; False when the person leaves before."""
    print("the run's folder is gone; waiting for it to come back", flush=True)
    while True:
        with suppress(AvoError, OSError):
            summaries.reopen()
            print("the run's folder is back", flush=True)
            return True
        if listener is None:
            time.sleep(POLL_S)
        elif not listener.wait(POLL_S):
            return False


def _news(reader: Reader, after: int) -> Iterator[Entry]:
    while batch := reader.events(after):
        yield from batch
        after = batch[-1].seq


def _leave(folder: RunFolder, summaries: Summaries) -> bool:
    """The first ctrl-C: say how to stop the run, and wait a moment for the second, which does."""
    name = folder.name
    try:
        print(f"\nrun {name} goes on without this watcher; ctrl-C again within {AGAIN_S:.0f} s stops it", flush=True)
        time.sleep(AGAIN_S)
    except KeyboardInterrupt:
        return _stop(folder, summaries)
    print(f"watch it with 'avo attach {handle(folder)}', stop it with 'avo stop {handle(folder)}'", flush=True)
    return False


def _stop(folder: RunFolder, summaries: Summaries) -> bool:
    print(f"stopping run {folder.name}", flush=True)
    after = summaries.reader.last_seq()
    try:
        send(folder.journal, "stop", issued_seq=after)
        deadline = time.monotonic() + STOP_S
        while time.monotonic() < deadline and summaries.take().state not in ENDED:
            time.sleep(POLL_S)
    except AvoError as error:
        print(f"avo: {error}", file=sys.stderr)
    return summaries.take().state in ENDED


def progress_line(entry: Entry, *, plain: bool = False) -> str:
    """One line on an event that moves the run on, or "" for one that does not; `plain` in words, without columns."""
    if entry.kind in QUIET:
        return ""
    fact = entry.event()
    if isinstance(fact, ev.DirectionChanged) and fact.state in QUIET_DIRECTIONS:
        return ""
    if isinstance(fact, ev.DirectionChanged):
        why = f": {one_line(fact.why, 90)}" if fact.why else ""
        return f"{_headed(fact.state, plain)} {one_line(fact.name, 70)} ({fact.source}){why}"
    if isinstance(fact, ev.AttemptScored):
        why = "" if fact.score.correct else f": {fact.score.reason}"
        return f"{_headed(entry.kind, plain)} {one_line(fact.title() + why, 150)}"
    if isinstance(fact, ev.BaselineMeasured):
        return f"{_headed(entry.kind, plain)} {one_line(f'{fact.name}: {rate(fact.score.geomean_tflops)}', 150)}"
    if isinstance(fact, ev.VersionCommitted):
        if plain:
            gained = f", {fact.ratio:.3f} times the one before" if fact.ratio else ""
            return f"new version v{fact.version}, {rate(fact.score.geomean_tflops)}{gained}: {one_line(fact.name, 70)}"
        gained = f"  {times(fact.ratio)} the one before" if fact.ratio else ""
        return f"* v{fact.version:<7} {rate(fact.score.geomean_tflops)}{gained}  {one_line(fact.name, 70)}"
    return f"{_headed(entry.kind, plain)} {one_line(entry.title, 150)}"


def _headed(kind: str, plain: bool) -> str:
    return f"{kind.replace('_', ' ')}:" if plain else f"{kind:<9}"


def report_text(summary: Summary, folder: RunFolder) -> str:
    """What came of a run, and where it lies."""
    return f"{came_of(summary)}\nrun {summary.run} ({summary.state}) lies in {folder.path}"


def came_of(summary: Summary) -> str:
    """What came of a run: its versions, the score table beside the baselines, and the verdict in one line."""
    if not summary.versions:
        return f"no version was committed\n\n{_verdict(summary)}"
    return "\n".join([versions_table(summary), "", score_table(summary), "", _verdict(summary)])


def _verdict(summary: Summary) -> str:
    head = summary.incumbent
    tried = f"{summary.attempts} attempts in {span(summary.elapsed_s)}"
    if head is None:
        return tried
    rivals = "".join(f", {times(summary.against(name))} {name}" for name in summary.baselines)
    return f"best v{head.version}: {times(summary.gain)} the seed{rivals}; {len(summary.versions)} versions, {tried}"


def since(seconds: float) -> str:
    """Time since the run began: 2:05, or 1:02:05 from the first hour on."""
    minutes, rest = divmod(max(0, int(seconds)), 60)
    return f"{minutes // 60}:{minutes % 60:02d}:{rest:02d}" if minutes >= 60 else f"{minutes:>2}:{rest:02d}"
