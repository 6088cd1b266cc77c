"""Looking at runs: lists and states. Reads the journal and changes nothing."""

from __future__ import annotations

import json
import time
from argparse import Namespace
from collections.abc import Iterable, Iterator
from dataclasses import asdict
from typing import Any

from avo_tui.commands.named import handle, number, print_json, run_of
from avo_tui.presence import lookers, names
from avo_tui.summary import Summaries, Summary
from avo_tui.tables import NOTHING, clean, clock, moment, one_line, rate, span, table, times, versions_table
from engine.record.errors import AvoError, UsageError
from engine.record.events import kinds
from engine.record.reader import Attempt, Entry, Reader, Version
from engine.record.run import RunFolder, list_runs, runs_directory

LAST_ATTEMPTS = 50
BATCH = 1000
POLL_S = 0.2


def runs(arguments: Namespace) -> int:
    """`avo runs`: every run, newest first; one that cannot be read is listed with the reason."""
    directory = runs_directory(arguments.runs)
    found = [(folder, *_summary_or_reason(folder)) for folder in list_runs(directory)]
    if arguments.json:
        print_json([s.to_json() if s else {"run": f.name, "state": "unreadable", "reason": r} for f, s, r in found])
    elif not found:
        print(f"no runs in {directory}; start one with 'avo run'")
    else:
        head = ["run", "state", "problem", "operator", "best", "geomean", "gain", "versions", "attempts", "began"]
        print(table(head, (_run_row(*f) for f in found)))
    return 0


def _summary_or_reason(folder: RunFolder) -> tuple[Summary | None, str]:
    try:
        with Summaries(folder) as summaries:
            return summaries.take(), ""
    except AvoError as error:
        return None, str(error)


def _run_row(folder: RunFolder, s: Summary | None, reason: str) -> list[str]:
    if s is None:
        return [folder.name, "unreadable", one_line(reason, 60), *[""] * 7]
    head = s.incumbent
    best, tflops = (f"v{head.version}", rate(head.geomean_tflops)) if head else (NOTHING, NOTHING)
    counts = [str(len(s.versions)), str(s.attempts)]
    return [s.run, s.state, s.problem, s.operator, best, tflops, times(s.gain), *counts, moment(s.created_at)]


def status(arguments: Namespace) -> int:
    """`avo status`: where a run stands."""
    folder = run_of(arguments)
    with Summaries(folder) as summaries:
        summary = summaries.take()
    if arguments.json:
        print_json({**summary.to_json(), "viewers": [asdict(one) for one in lookers(folder.path)]})
    else:
        print(status_text(summary))
        if seen := lookers(folder.path):
            print(f"looking    {', '.join(names(seen))}")
    return 0


def status_text(s: Summary) -> str:
    """A run's state in a few lines."""
    beat = "the engine never ran" if s.heartbeat_age_s is None else f"heartbeat {span(s.heartbeat_age_s)} ago"
    lines = [f"{s.run}  {s.state}  {s.problem} by {s.operator}  {beat}", f"incumbent  {_incumbent(s)}"]
    lines.append(f"versions   {len(s.versions)}   attempts {s.attempts}   alerts open {len(s.alerts)}")
    cost = f"   spend ${s.spend.usd:.2f}" if s.spend.calls else ""
    lines.append(f"elapsed    {span(s.elapsed_s)}{cost}   began {moment(s.created_at)}")
    if s.unsafe:
        lines.append("sandbox    UNSAFE: no sandbox holds what runs here, and its scores are marked")
    elif s.tier:
        lines.append(f"sandbox    {one_line(s.tier, 60)}")
    if s.activity:
        lines.append(f"now        {one_line(s.activity, 100)}")
    lines += [f"alert {a.alert}    {a.severity}: {one_line(a.name, 100)}" for a in s.alerts[:3]]
    if s.state in ("finished", "paused") and s.reason:
        lines.append(f"{s.state:<10} {one_line(s.reason, 140)}")
    if s.state == "crashed":
        lines.append(f"the engine is gone; 'avo resume {s.run}' goes on from here")
    return "\n".join(lines)


def _incumbent(s: Summary) -> str:
    head = s.incumbent
    if head is None:
        return "none yet"
    rivals = "".join(f"  {times(s.against(name))} {name}" for name in s.baselines)
    gain = f"  {times(s.gain)} the seed" if s.gain else ""
    age = span(max(0.0, s.taken_at - head.created_at))
    return f"v{head.version} {head.commit[:9]}  {rate(head.geomean_tflops)}{gain}{rivals}  ({age} ago)"


def log(arguments: Namespace) -> int:
    """`avo log`: the events, oldest first; with --follow until the run ends."""
    folder = run_of(arguments)
    if unknown := [k for k in arguments.kind if k not in kinds()]:
        raise UsageError(f"no kind of event is called {unknown[0]!r}; there are {', '.join(sorted(kinds()))}")
    with Summaries(folder) as summaries:
        entries = _chosen(summaries.reader, arguments)
        if arguments.json and not arguments.follow:
            _print_array(entries)
        else:
            _print_stream(entries, summaries, arguments)
    return 0


def _chosen(reader: Reader, arguments: Namespace) -> Iterable[Entry]:
    if arguments.search is not None:
        if arguments.follow:
            raise UsageError("--search looks through what was written; it cannot be combined with --follow")
        hits = sorted(h.seq for h in reader.search(arguments.search, limit=arguments.tail or 1000))
        found = [e for seq in hits if (e := reader.entry(seq)) is not None]
        return [e for e in found if not arguments.kind or e.kind in arguments.kind]
    tail = 20 if arguments.follow and arguments.tail is None and arguments.after is None else arguments.tail
    if tail is not None:
        return [e for e in reader.tail(tail, kinds=arguments.kind) if e.seq > (arguments.after or 0)]
    return every(reader, arguments.after or 0, arguments.kind)


def every(reader: Reader, after: int, only: Iterable[str] = ()) -> Iterator[Entry]:
    """Every event after a sequence number, read in batches."""
    kinds_wanted = tuple(only)
    while batch := reader.events(after, kinds=kinds_wanted, limit=BATCH):
        yield from batch
        after = batch[-1].seq


def _print_array(entries: Iterable[Entry]) -> None:
    """One JSON array, written as it is read: a log may be longer than memory is wide."""
    separator = "["
    for entry in entries:
        print(separator + json.dumps(_entry_json(entry), ensure_ascii=False), end="")
        separator = ",\n"
    print("[]" if separator == "[" else "]")


def _print_stream(entries: Iterable[Entry], summaries: Summaries, arguments: Namespace) -> None:
    after = summaries.reader.last_seq()
    for entry in entries:
        _print_entry(entry, as_json=arguments.json)
        after = max(after, entry.seq)
    if not arguments.follow:
        return
    mark = None
    while True:
        ended = summaries.take().state in ("finished", "crashed")
        if (now := summaries.reader.mark()) != mark or ended:
            mark = now
            for entry in every(summaries.reader, after, arguments.kind):
                _print_entry(entry, as_json=arguments.json)
                after = entry.seq
        if ended:
            return
        time.sleep(POLL_S)


def _print_entry(entry: Entry, *, as_json: bool) -> None:
    if as_json:
        print(json.dumps(_entry_json(entry), ensure_ascii=False), flush=True)
    else:
        print(f"{entry.seq:>7}  {clock(entry.at)}  {entry.kind:<13}  {one_line(entry.title)}", flush=True)


def _entry_json(entry: Entry) -> dict[str, Any]:
    try:
        data = json.loads(entry.data)
    except ValueError:  # what a damaged disk left of it
        data = None
    return {"seq": entry.seq, "at": entry.at, "kind": entry.kind, "title": entry.title, "data": data}


def versions(arguments: Namespace) -> int:
    """`avo versions`: every committed version, withdrawn ones too."""
    folder = run_of(arguments)
    with Summaries(folder) as summaries:
        summary = summaries.take()
    if arguments.json:
        print_json([version_json(v) for v in summary.versions])
    elif not summary.versions:
        print(f"run {folder.name} has no version yet; 'avo log {handle(folder)} --follow' shows what it does")
    else:
        print(versions_table(summary))
    return 0


def version_json(v: Version) -> dict[str, Any]:
    """A version as `avo versions --json` gives it."""
    plain = {
        "version": v.version,
        "commit": v.commit,
        "parent": v.parent,
        "active": v.active,
        "geomean_tflops": v.geomean_tflops,
        "verdict": v.verdict,
        "direction": v.direction,
        "name": v.name,
        "created_at": v.created_at,
        "attempt": v.attempt,
        "ratio": v.ratio,
        "low": v.low,
        "high": v.high,
    }
    return {**plain, "configurations": [asdict(c) for c in v.score.configurations]}


def attempts(arguments: Namespace) -> int:
    """`avo attempts`: what was tried, kept or not; the last 50 unless --all."""
    folder = run_of(arguments)
    with Reader(folder.journal) as reader:
        found = reader.attempts(limit=2**31 if arguments.all or arguments.search else LAST_ATTEMPTS)
        if arguments.search:
            found = _matching(reader, found, arguments.search)
        if arguments.json:
            print_json([attempt_json(a) for a in found])
            return 0
        _, count = reader.counts()
    if not found:
        what = f"no attempt of run {folder.name} has these words" if count else f"run {folder.name} has none yet"
        print(what)
        return 0
    head = ["attempt", "stage", "verdict", "geomean", "ratio", "version", "direction", "why"]
    print(table(head, (_attempt_row(a) for a in found)))
    if len(found) < count and not arguments.search:
        print(f"({count - len(found)} earlier ones: --all)")
    return 0


def _matching(reader: Reader, found: list[Attempt], text: str) -> list[Attempt]:
    wanted = {h.seq for h in reader.search(text, limit=5000) if h.kind in ("attempt", "gate")}
    named = {number(text, "a")} if text[:1] in "aA" and text[1:].isdigit() else set()
    decided = {e.event() for e in reader.events(kinds=("gate",), limit=2**31) if e.seq in wanted}
    named |= {getattr(fact, "attempt", -1) for fact in decided}
    return [a for a in found if a.seq in wanted or a.attempt in named]


def _attempt_row(a: Attempt) -> list[str]:
    name = one_line(a.name or a.direction, 36)
    version = f"v{a.version}" if a.version is not None else ""
    reason = one_line(a.reason or a.hypothesis, 70)
    return [
        f"a{a.attempt}",
        a.stage,
        a.verdict or "",
        rate(a.geomean_tflops) if a.correct else NOTHING,
        times(a.ratio),
        version,
        name,
        reason,
    ]


def attempt_json(a: Attempt) -> dict[str, Any]:
    """An attempt as `avo attempts --json` gives it."""
    return asdict(a)


def alerts(arguments: Namespace) -> int:
    """`avo alerts`: every alert with its evidence, newest first."""
    folder = run_of(arguments)
    with Reader(folder.journal) as reader:
        found = reader.alerts()
    if arguments.json:
        print_json([asdict(a) for a in found])
    for a in () if arguments.json else found:
        closed = f"closed by {a.closed_by}" if a.closed_at else "open"
        print(f"alert {a.alert}  {clock(a.at)}  {a.severity}  {closed}  {one_line(a.name)}")
        print("".join(f"    {line}\n" for line in clean(a.evidence).splitlines()), end="")
    return 0


def directions(arguments: Namespace) -> int:
    """`avo directions`: every direction and its latest state."""
    folder = run_of(arguments)
    with Reader(folder.journal) as reader:
        found = reader.directions()
    if arguments.json:
        print_json([asdict(d) for d in found])
    elif found:
        rows = [
            [d.direction, d.source, d.state, str(d.tried), one_line(d.name, 60), one_line(d.why, 60)] for d in found
        ]
        print(table(["direction", "from", "state", "tried", "name", "why"], rows))
    return 0


def commands(arguments: Namespace) -> int:
    """`avo commands`: what people asked for, and what became of it."""
    folder = run_of(arguments)
    with Reader(folder.journal) as reader:
        found = reader.commands(limit=1000)
    if arguments.json:
        print_json([asdict(c) for c in found])
    elif found:
        why = [c.reason or (json.dumps(c.arguments) if c.arguments else "") for c in found]
        rows = [
            [f"#{c.command}", clock(c.at), c.person, c.verb, c.state, one_line(text, 80)]
            for c, text in zip(found, why, strict=True)
        ]
        print(table(["command", "at", "person", "verb", "state", "reason"], rows))
    return 0
