"""A week in minutes: 10,000 attempts, 1,000,000 events and 60 commits through a real engine, with a scorer that only
tells figures. Memory stays flat, and what viewers ask is answered at the end as fast as at the start.

`make soak` runs the week, `make test` an hour of it. -s prints the figures.
"""

import contextlib
import json
import shutil
import sqlite3
import time
from pathlib import Path

import pytest

from avo_tui.model.moment import moment
from avo_tui.model.snapshot import Builder
from avo_tui.summary import Summaries
from engine.record.config import SupervisorConfig
from engine.record.reader import Reader
from engine.record.run import RunFolder

PATIENT = SupervisorConfig(
    stall_nudge=60, stall_review=100, stall_restore=10**6, stall_pause=10**6, stall_minutes=1e6,
    repeats_nudge=10**6, repeats_review=10**6, failures_nudge=10**6, failures_review=10**6,
)  # fmt: skip
PAGE = 50
SLOWER = 1.5
NOISE_US = 300.0
FLAT_MB = 20.0

# What the control room and the command line ask of a run, by name.
QUESTIONS = {
    "status": lambda s, r: s.take().to_json(),
    "attempts page": lambda s, r: r.attempts(limit=PAGE),
    "an older page": lambda s, r: r.attempts(before=r.counts()[1] // 2 + PAGE, limit=PAGE),
    "an attempt": lambda s, r: (r.attempt(40), r.attempt_score(40), r.attempt_diff(40)),
    "the newest version": lambda s, r: r.incumbent(),
    "tail": lambda s, r: r.tail(400),
    "before an event": lambda s, r: r.tail(400, before=r.last_seq() // 2),
    "the event at a time": lambda s, r: r.seq_at(r.entry(r.last_seq() // 2).at),
    "alerts, commands, spend": lambda s, r: (r.alerts(open_only=True), r.commands(), r.spend()),
    "all directions, each": lambda s, r: r.directions(),
    "tail of mixed kinds": lambda s, r: r.tail(100, kinds=("said", "alert")),
    "search for common words": lambda s, r: r.search("softmax rescale"),
    "kinds": lambda s, r: list(r.follow_kinds()),
}
# At the start there is next to nothing of these kinds. They are asked twice: for what there was at the start, which is
# the same answer from a journal a hundred times as long, and for the newest page, which fills in the first day.
RARE = {
    "tail of a kind": lambda r, before: r.tail(20, before=before, kinds=("gate",)),
    "tail of rare kinds": lambda r, before: r.tail(20, before=before, kinds=("head", "alert", "state")),
    "events of rare kinds": lambda r, before: r.events(before=before, kinds=("run_started", "alert"), limit=20),
}
# The time for each row: a week has thought of more directions, and in a day there are fewer versions than on a page.
EACH = {"all directions, each", "tail of a kind, each"}
# These return pages, and look through a vocabulary, that fill in the course of the first day: compared with its end.
PAGES = {
    "search for a rare word": lambda s, r: r.search("needle12"),
    "search for a rare word and a beginning": lambda s, r: r.search("needle12 resca"),
    "search for a rare word and a letter": lambda s, r: r.search("needle12 s"),
    "the next match": lambda s, r: r.search_near("swizzle ban", before=r.last_seq() // 2),
    "the next match of a letter": lambda s, r: r.search_near("s", before=r.last_seq() // 2),
    "an earlier moment": lambda s, r: moment(r, s.take(), r.last_seq() // 2),
    "attempts with words": lambda s, r: r.attempts_with("speed turn", limit=20),
    "attempts with a beginning": lambda s, r: r.attempts_with("spe", before=r.last_seq() // 2, limit=20),
}


def rare(before: int | None, suffix: str = ""):
    """The questions of rare kinds, for what lies before an event or for the newest page."""
    return {name + suffix: lambda s, r, ask=ask: ask(r, before) for name, ask in RARE.items()}


def memory_mb(pid: int) -> float:
    """Anonymous memory of a process: what it allocated, without files that the kernel maps and drops as it likes."""
    fields = dict(line.split(":", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines() if ":" in line)
    return int(fields["RssAnon"].split()[0]) / 1024


def keep(folder: RunFolder, place: Path) -> RunFolder:
    """A copy of a live run as it is now, for viewers."""
    place.mkdir()
    shutil.copyfile(folder.config, place / "config.toml")
    with (
        contextlib.closing(sqlite3.connect(folder.journal)) as db,
        contextlib.closing(sqlite3.connect(place / "journal.db")) as copy,
    ):
        db.backup(copy)
        copy.execute("PRAGMA journal_mode = WAL")
    return RunFolder(place)


def is_slow(first: float, last: float) -> bool:
    """Whether a question takes longer at the end than noise explains."""
    return last > SLOWER * first + NOISE_US


def quickest_us(questions, early: RunFolder, late: RunFolder) -> dict[str, tuple[float, float]]:
    """The least time of each question early and at the end, asked in turns so that noise falls on both.

    What seems slow is asked on: a busy machine is not a fault.
    """
    found: dict[str, tuple[float, float]] = {}
    with Summaries(early) as first, Summaries(late) as last:
        for name, ask in questions.items():
            times: tuple[list[float], list[float]] = ([], [])
            begun = time.monotonic()
            while (
                len(times[0]) < 9
                or (len(times[0]) < 40 and time.monotonic() < begun + 1.5)
                or (is_slow(min(times[0]), min(times[1])) and time.monotonic() < begun + 5.0)
            ):
                for summaries, into in ((first, times[0]), (last, times[1])):
                    began = time.perf_counter()
                    answer = ask(summaries, summaries.reader)
                    took = (time.perf_counter() - began) * 1e6
                    into.append(took / len(answer) if name in EACH else took)
            found[name] = (min(times[0]), min(times[1]))
    return found


def room_ms(folder: RunFolder) -> float:
    """How long a viewer that attaches waits for its first moment."""
    best = 1e9
    for _ in range(5):
        began = time.perf_counter()
        builder = Builder(folder)
        builder.live()
        builder.close()
        best = min(best, time.perf_counter() - began)
    return best * 1e3


def live_a_week(run, tmp_path, *, attempts, events, commits, minutes):
    """Drive the engine; returns (copies of the start and of the first day's end, seconds, [(attempts, MB)])."""
    (run.folder.path / "week.json").write_text(json.dumps({"attempts": attempts, "events": events, "commits": commits}))
    began = time.monotonic()
    process = run.start()
    due = {"start": max(PAGE + 10, attempts // 100), "day": max(PAGE + 10, attempts // 7)}
    copies, memory = {}, []
    while process.poll() is None and time.monotonic() - began < 60 * minutes:
        time.sleep(0.1)
        done = run.ask(lambda r: r.counts()[1]) or 0
        with contextlib.suppress(OSError, KeyError):  # it ended just now
            memory.append((done, memory_mb(process.pid)))
        for name in [n for n in due if n not in copies and done > due[n]]:
            copies[name] = keep(run.folder, tmp_path / name)
    assert process.poll() == 0, run.log()
    return copies, time.monotonic() - began, memory


WEEK = {"attempts": 10_000, "events": 1_000_000, "commits": 60, "minutes": 30}
HOUR = {"attempts": 120, "events": 12_000, "commits": 4, "minutes": 1.5}


@pytest.mark.parametrize(
    "span",
    [pytest.param(HOUR, id="hour"), pytest.param(WEEK, id="week", marks=[pytest.mark.soak, pytest.mark.timeout(2400)])],
)
def test_a_long_run_stays_as_quick_and_as_small_as_it_was(new_run, tmp_path, span, capsys):
    run = new_run(operator="week_operator:create", supervisor=PATIENT)
    copies, seconds, memory = live_a_week(run, tmp_path, **span)
    with Reader(run.folder.journal) as reader:
        versions, attempts = reader.counts()
        events = reader.last_seq()
    size_mb = sum(p.stat().st_size for p in run.folder.path.glob("journal.db*")) / 2**20
    with Reader(copies["start"].journal) as reader, Reader(run.folder.journal) as now:
        begun = reader.last_seq() + 1
        assert [ask(reader, begun) for ask in RARE.values()] == [ask(now, begun) for ask in RARE.values()]
    same, newest = rare(begun, " at the start"), rare(None)
    newest["tail of a kind, each"] = newest.pop("tail of a kind")
    times = quickest_us(QUESTIONS | same, copies["start"], run.folder)
    times |= quickest_us(PAGES | newest, copies["day"], run.folder)
    settled = [mb for done, mb in memory if done > span["attempts"] // 10]
    grown = max(settled) - settled[0]
    working = [mb for done, mb in memory if span["attempts"] // 10 < done < span["attempts"]]
    with capsys.disabled():
        print(f"\n{attempts} attempts, {events} events, {versions} versions in {seconds:.0f} s")
        print(
            f"journal {size_mb:.0f} MiB; engine {working[0]:.1f} MB after a tenth, {working[-1]:.1f} MB near the end,"
        )
        print(f"  at most {grown:.1f} MB more than after a tenth (when it writes down its lessons)")
        first, day, last = (f"{room_ms(f):.1f} ms" for f in (copies["start"], copies["day"], run.folder))
        print(f"a viewer's first moment: {first} at the start, {day} after a day, {last} at the end")
        for name, (first, last) in times.items():
            print(f"  {name:<40}{first:>10.0f} us {last:>10.0f} us {last / first:>7.2f}x")
    assert attempts > span["attempts"]
    assert versions == span["commits"] + 1
    assert events >= span["events"]
    assert grown < FLAT_MB
    slow = {name: both for name, both in times.items() if is_slow(*both)}
    assert not slow, slow
