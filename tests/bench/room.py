"""The control room's figures beside their targets, measured on a run of a million events in a pty of our own.

python -m tests.bench.room [--events N] [--json FILE] [--only NAME ...] [--folder DIR]

Everything is real: `avo attach` in its own process, a journal of the engine's schema, a writer in a second
process. Figures hold for a machine with nothing else to do; the room's tests assert the same ones generously.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import re
import select
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from engine.record import events as ev
from engine.record.journal import Journal
from engine.record.liveness import identity
from engine.record.reader import Reader
from engine.record.run import RunFolder
from tests.room import long, stage
from tests.room.terminal import Terminal

ROOM = (sys.executable, "-m", "tests.bench.blocks")
HZ = os.sysconf("SC_CLK_TCK")
PARTS = 60  # of a simulated time; memory is read after each


@dataclass(frozen=True, slots=True)
class Figure:
    """One measured figure; it is met at or below its target."""

    name: str
    unit: str
    target: float
    measured: float

    @property
    def met(self) -> bool:
        """Whether the target is kept."""
        return self.measured <= self.target


@contextmanager
def engine(run: RunFolder) -> Iterator[None]:
    """Be the run's engine: alive, and heard of every second."""
    stage.adopt(run.path)
    over = threading.Event()

    def beat() -> None:
        me = identity()
        with Journal.open(run.journal) as journal:
            while not over.wait(1.0):
                journal.beat(pid=me.pid, started=me.started, boot=me.boot, host=me.host, state="running", activity="")

    with Journal.open(run.journal) as journal:
        me = identity()
        journal.beat(pid=me.pid, started=me.started, boot=me.boot, host=me.host, state="running", activity="")
        for slot in ("activity", "stream", "output"):
            journal.live(slot, "")
    thread = threading.Thread(target=beat)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


@contextmanager
def room(run: RunFolder, blocks: Path | None = None, *, hurry: bool = False) -> Iterator[Terminal]:
    """The room, attached and painted."""
    env = {"AVO_BLOCKS": str(blocks)} if blocks else {}
    env |= {"AVO_HURRY": "1"} if hurry else {}
    with Terminal([*ROOM, str(run.path)], width=120, height=40, env=env) as t:
        t.until("LIVE", 30)
        t.settle(1.2)
        yield t
        t.settle(1.5, 2.0)  # so that what leaving costs is not taken for what using costs
        t.press("q")
        t.wait()


@contextmanager
def writer(run: RunFolder, rate: float, how: str = "facts") -> Iterator[subprocess.Popen[str]]:
    """Another process that writes `rate` facts a second; at its end it prints how long each append took, ms."""
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.bench.room", "--write", str(run.path), str(rate), how],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert process.stdout is not None
    process.stdout.readline()
    try:
        yield process
    finally:
        if process.poll() is None:
            process.communicate()


def write(path: Path, rate: float, how: str) -> None:
    """The writer's own loop, until its standard input ends."""
    over = threading.Event()
    threading.Thread(target=lambda: (sys.stdin.read(), over.set()), daemon=True).start()
    took: list[float] = []
    with Journal.open(RunFolder(path).journal) as journal:
        print("writing", flush=True)
        start, n = time.monotonic(), 0
        while not over.wait(max(start + n / rate - time.monotonic(), 0.0)):
            n += 1
            before = time.monotonic()
            if how == "updates" and n % 5:
                journal.live("stream", "the words come " * (n % 5) + str(n))
            else:
                journal.append(ev.Said(f"fact {n}: the tile waits for loads, and the loads wait for the tile.", n))
            took.append((time.monotonic() - before) * 1e3)
    print(json.dumps(took))


def results(process: subprocess.Popen[str]) -> list[float]:
    """End a writer; what each of its appends took, ms."""
    text, _ = process.communicate()
    return [float(v) for v in json.loads(text)]


# The figures.


def attach(run: RunFolder, times: int) -> list[Figure]:
    """Time to the first live picture, and the memory it takes."""
    took, resident = [], []
    for _ in range(times):
        start = time.monotonic()
        with Terminal([*ROOM, str(run.path)], width=120, height=40) as t:
            t.until("LIVE", 30)
            took.append(time.monotonic() - start)
            t.settle(2.0)
            resident.append(memory_mb(t))
            t.press("q")
            t.wait()
    return [
        Figure("attach to live view painted", "s", 0.6, statistics.median(took)),
        Figure("resident memory", "MB", 150, max(resident)),
    ]


def search(run: RunFolder, times: int) -> list[Figure]:
    """From the last letter to hits on the screen, in the room's search."""
    took = []
    with room(run) as t:
        for i in range(times):
            t.press("\x06")
            t.until("words, in any order|every one must occur")
            words = ("word976", "polynomial exp", f"softmax {random.randrange(900_000)}", "tile word12")[i % 4]
            t.press(words)
            start = time.monotonic()
            t.until(r"\d+\+? hits?\b")
            took.append(time.monotonic() - start)
            t.press("esc")
            t.gone("Search the whole run")
    return [Figure("search over everything, letter to hits", "s", 0.5, statistics.median(took))]


def keys(run: RunFolder, times: int) -> list[Figure]:
    """From a key to the first byte of what it changed, idle and beside 200 facts a second; and the longest block."""
    found = []
    with tempfile.TemporaryDirectory() as folder:
        blocks = Path(folder) / "blocks.json"
        with room(run, blocks) as t:
            idle = latencies(t, times)
            with writer(run, 200) as process:
                t.settle(0.1, 1.0)
                busy = latencies(t, times)
                visit(t)
                results(process)
        longest = max(json.loads(blocks.read_text("utf-8")))
    for name, values, target in (("idle", idle, 30.0), ("at 200 events/s", busy, 80.0)):
        found += [
            Figure(f"key to paint, {name}, p50", "ms", target, statistics.median(values)),
            Figure(f"key to paint, {name}, p99", "ms", target, quantile(values, 0.99)),
        ]
    return [*found, Figure("longest block of the event loop", "ms", 50, longest * 1e3)]


def latencies(t: Terminal, times: int) -> list[float]:
    """Milliseconds from a cursor key to the picture in which the cursor moved."""
    took = []
    t.press("1")
    t.settle(0.3, 2.0)
    for i in range(times):
        before = cursor(t)
        start = time.monotonic()
        os.write(t._master, b"j" if i % 6 < 3 else b"k")
        while cursor(t) == before and time.monotonic() - start < 2.0:
            t.pump(0.005)
        took.append((time.monotonic() - start) * 1e3)
        deadline = time.monotonic() + random.uniform(0.02, 0.06)
        while (left := deadline - time.monotonic()) > 0:
            t.pump(left)
    return took


def cursor(t: Terminal) -> int:
    """The line of the cursor in the score table."""
    return next((y for y in range(3, 16) if t.screen.buffer[y][0].data == "▌"), -1)


def visit(t: Terminal) -> None:
    """Go through the views, a review and the past, for what may block."""
    for key in ("2", "o", "o", "3", "4", "5", "6", "o", "7", "1", "[", "[", "f", "?", "esc", "3", "enter"):
        t.press(key)
        t.settle(0.3 if key == "esc" else 0.1, 0.6)  # a key right after Esc is one with Alt
    t.until(r"1 Diff")
    t.press("esc")
    t.gone("1 Diff")


def quiet(run: RunFolder, seconds: float) -> list[Figure]:
    """Bytes and processor time while nothing happens but the heartbeat, and at ten updates a second."""
    with room(run) as t:
        t.settle(0.5, 6.0)
        idle = spent(t, seconds)
        with writer(run, 10, "updates") as process:
            t.settle(0.1, 1.0)
            live = spent(t, seconds)
            t.press("?")
            t.until("Steer the run")
            t.settle(0.1, 1.0)
            below = spent(t, seconds)
            results(process)
        t.press("esc")
        t.gone("Steer the run")
    return [
        Figure("idle, to the terminal", "bytes/s", 150, idle[0]),
        Figure("idle, of a core", "%", 0.5, idle[1]),
        Figure("10 updates/s, to the terminal", "bytes/s", 5000, live[0]),
        Figure("10 updates/s, of a core", "%", 4.0, live[1]),
        Figure("the same below a dialog, to the terminal", "bytes/s", 5000, below[0]),
        Figure("and of a core", "%", 4.0, below[1]),
    ]


def spent(t: Terminal, seconds: float) -> tuple[float, float]:
    """(bytes a second, percent of a core) for a while."""
    raw, cpu, start = len(t.raw), cpu_s(t), time.monotonic()
    while (left := start + seconds - time.monotonic()) > 0:
        t.pump(left)
    passed = time.monotonic() - start
    return (len(t.raw) - raw) / passed, (cpu_s(t) - cpu) / passed * 100


def freshness(run: RunFolder, times: int) -> list[Figure]:
    """From the commit of an event to its words on the screen."""
    took = []
    with room(run) as t, Journal.open(run.journal) as journal:
        for i in range(times):
            journal.append(ev.Said(f"mark-{i}-here", i))
            start = time.monotonic()
            t.until(f"mark-{i}-here", 5)
            took.append((time.monotonic() - start) * 1e3)
            deadline = time.monotonic() + random.uniform(0.05, 0.4)
            while (left := deadline - time.monotonic()) > 0:
                t.pump(left)
    return [Figure("event to screen, p99", "ms", 200, quantile(took, 0.99))]


def growth(run: RunFolder, hours: float, redraws: int, looks: int = 5) -> list[Figure]:
    """Memory over simulated hours: an event a second, an attempt every ten minutes, a person who looks round a few
    times, and so many redraws an hour. The first twentieth warms up; the slope is that of the hours after it.
    """
    with room(run, hurry=True) as t, Journal.open(run.journal) as journal:
        life, sizes = Life(journal), list[tuple[float, float]]()
        for part in range(PARTS):
            for _ in range(int(redraws * hours / PARTS)):
                life.go_on(3600 // redraws)
                drain(t)
            if part % (PARTS // looks) == 0:
                t.press("ctrl+l")
                t.settle(0.3, 2.0)
                visit(t)
            drain(t, 0.3)
            sizes.append(((part + 1) * hours / PARTS, memory_mb(t)))
        t.press("ctrl+l")
        t.settle(0.3, 2.0)
    warm = sizes[PARTS // 20 :]
    name = f"over {hours:g} simulated hours, {redraws * hours:,.0f} redraws"
    return [
        Figure(f"memory growth {name}", "MB", 20, max(max(size for _, size in warm) - warm[0][1], 0.0)),
        Figure("and its slope", "kB/hour", 20_000 / 72, max(slope(warm) * 1000, 0.0)),
    ]


class Life:
    """What a run writes as it lives: words and tools, and after each 600 of them an attempt."""

    def __init__(self, journal: Journal) -> None:
        with Reader(journal.path) as reader:
            newest = reader.tail(1, kinds=("attempt",))[0].event()
            self._attempt = reader.attempts(limit=1)[0].attempt
        assert isinstance(newest, ev.AttemptScored)
        self._journal, self._like, self._written = journal, newest, 0

    def go_on(self, events: int) -> None:
        """The next events, in one transaction, so that one redraw takes them."""
        facts: list[ev.Event] = [long.fact(self._written + i) for i in range(events)]
        self._written += events
        if self._written % 600 < events:
            self._attempt += 1
            facts.append(replace(self._like, attempt=self._attempt, source_hash=f"{self._attempt:064x}"))
        self._journal.append(*facts)


def drain(t: Terminal, seconds: float = 0.004) -> None:
    """Take what the room writes without looking at it, which would take longer than the room does."""
    while select.select([t._master], [], [], seconds)[0] and os.read(t._master, 65536):
        seconds = 0.002


def slope(points: Sequence[tuple[float, float]]) -> float:
    """Of the line that lies nearest to the points."""
    return statistics.linear_regression([x for x, _ in points], [y for _, y in points]).slope


def deaf(run: RunFolder, seconds: float) -> list[Figure]:
    """A terminal that stops reading: what the engine's appends take meanwhile, and whether anything was lost."""
    with room(run) as t:
        with writer(run, 50) as process:
            t.settle(0.1, seconds / 2)
            heard = results(process)
        with writer(run, 50) as process:
            time.sleep(seconds)
            unheard = results(process)
        with Journal.open(run.journal) as journal:
            journal.append(ev.Said("the-very-last-fact", 1))
        start = time.monotonic()
        t.until("the-very-last-fact", 30)
        back = time.monotonic() - start
    slower = statistics.median(unheard) / statistics.median(heard)
    return [
        Figure(f"terminal deaf for {seconds:g} s: the engine's appends take", "times", 1.5, slower),
        Figure("and then the newest fact is on the screen in", "s", 2.0, back),
    ]


def memory_mb(t: Terminal) -> float:
    """Resident memory of the room's process."""
    text = Path(f"/proc/{t.process.pid}/status").read_text("ascii")
    found = re.search(r"VmRSS:\s+(\d+)", text)
    return int(found[1]) / 1024 if found else 0.0


def cpu_s(t: Terminal) -> float:
    """Processor seconds of the room's process."""
    parts = Path(f"/proc/{t.process.pid}/stat").read_text("ascii").rpartition(")")[2].split()
    return (int(parts[11]) + int(parts[12])) / HZ


def quantile(values: list[float], part: float) -> float:
    """The value below which `part` of the values lie."""
    return sorted(values)[min(int(len(values) * part), len(values) - 1)]


ALL: dict[str, Callable[[RunFolder], list[Figure]]] = {
    "attach": lambda run: attach(run, 5),
    "search": lambda run: search(run, 12),
    "keys": lambda run: keys(run, 200),
    "quiet": lambda run: quiet(run, 30.0),
    "freshness": lambda run: freshness(run, 100),
    "deaf": lambda run: deaf(run, 10.0),
    "growth": lambda run: growth(run, 72.0, 120),
}


def told(figures: list[Figure]) -> str:
    """The table."""
    rows = [f"{'':2}{'figure':<52} {'target':>10} {'measured':>10}"]
    for f in figures:
        mark = "✓" if f.met else "✗"
        rows.append(f"{mark:2}{f'{f.name} ({f.unit})':<52} {f'≤ {f.target:g}':>10} {_number(f.measured):>10}")
    return "\n".join(rows)


def _number(value: float) -> str:
    return f"{value:.0f}" if value >= 100 else f"{value:.3g}"


def main() -> int:
    """Measure and print; 1 when a target was missed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--events", type=int, default=1_000_000)
    parser.add_argument("--only", nargs="*", choices=list(ALL), default=list(ALL))
    parser.add_argument("--json", type=Path)
    parser.add_argument("--folder", type=Path, help="where the run is made, or lies already")
    parser.add_argument("--write", nargs=3, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.write:
        write(Path(given.write[0]), float(given.write[1]), given.write[2])
        return 0
    with tempfile.TemporaryDirectory() as made:
        home = Path(made) / "state"
        os.environ.update(XDG_STATE_HOME=str(home), XDG_CONFIG_HOME=str(home), AVO_PERSON="bench")
        path = (given.folder or Path(made)) / "bench-room"
        run = RunFolder(path) if path.exists() else long.write(path, given.events)
        figures: list[Figure] = []
        with engine(run):
            for name in given.only:
                found = ALL[name](run)
                print(told(found), file=sys.stderr, flush=True)
                figures += found
    print(f"the control room on a run of {given.events:,} events, 120×40")
    print(told(figures))
    if given.json:
        given.json.write_text(json.dumps([{**vars_of(f), "met": f.met} for f in figures], indent=1), "utf-8")
    return 0 if all(f.met for f in figures) else 1


def vars_of(f: Figure) -> dict[str, object]:
    """A figure for JSON."""
    return {"figure": f.name, "unit": f.unit, "target": f.target, "measured": round(f.measured, 4)}


if __name__ == "__main__":
    sys.exit(main())
