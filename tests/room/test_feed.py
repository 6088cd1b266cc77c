"""The feed finds what its watch could not tell of, and hands over nothing that reads as before."""

from __future__ import annotations

import subprocess
import threading
import time
from pathlib import Path

from avo_tui.feed import POLL_S, Feed
from avo_tui.life import Life
from avo_tui.model.show import phases
from avo_tui.model.snapshot import Builder, Snapshot
from avo_tui.model.status import AGES_S, reads_alike
from avo_tui.watch import Watch
from engine.record import events as ev
from engine.record.journal import Journal
from engine.record.liveness import identity
from engine.record.reader import Engine
from engine.record.run import RunFolder


class Early(Watch):
    """Tells of one write before it is committed, as inotify does while SQLite waits for the disk, and of no other."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder, "journal.db")
        self.write = threading.Event()

    def begin(self) -> None:
        """Ask nobody."""

    def wait(self, seconds: float) -> bool:
        """Once True; else the time runs out."""
        told = self.write.wait(seconds)
        self.write.clear()
        return told


def test_a_write_that_is_told_of_before_its_commit_is_found_without_the_poll(run: RunFolder):
    found: list[tuple[float, Snapshot]] = []
    feed = Feed(run, lambda s: found.append((time.monotonic(), s)))
    feed.watch.close()
    feed.watch = early = Early(run.path)
    feed.first()
    feed.start()
    with Journal.open(run.journal) as journal:
        time.sleep(2 * POLL_S)
        early.write.set()
        time.sleep(0.1)  # the disk
        seq, committed = journal.append(ev.Said("late", 1)), time.monotonic()
        while not (found and found[-1][1].last_seq == seq) and time.monotonic() < committed + 10:
            time.sleep(0.005)
    feed.stop()
    assert found[-1][0] - committed < POLL_S / 2


def test_a_watch_hears_the_files_meant_and_whoever_rings(tmp_path: Path):
    watch = Watch(tmp_path, "journal.db")
    watch.begin()
    (tmp_path / "other").write_text("x")
    assert not watch.wait(0.2)
    (tmp_path / "journal.db-wal").write_text("x")
    assert watch.wait(10.0)
    watch.ring()
    assert watch.wait(10.0)
    watch.close()
    watch.ring()


def test_a_folder_that_was_replaced_is_watched_once_that_is_begun_anew(tmp_path: Path):
    folder = tmp_path / "run"
    folder.mkdir()
    watch = Watch(folder, "journal.db")
    watch.begin()
    folder.rename(tmp_path / "away")
    folder.mkdir()
    watch.begin()
    (folder / "journal.db").write_text("x")
    assert watch.wait(10.0)
    watch.close()


def test_a_beat_alone_reads_as_before_and_time_does_not(run: RunFolder):
    now = [1000 * AGES_S]
    builder = Builder(run, lambda: now[0])
    first = builder.live()
    now[0] += 1
    assert reads_alike(first, builder.live())
    now[0] += AGES_S
    assert not reads_alike(first, builder.live())
    builder.close()


def test_an_engine_that_is_held_on_to_is_missed_once_it_ends():
    child = subprocess.Popen(["sleep", "60"])
    who = identity(child.pid)
    engine = Engine(who.pid, who.started, who.boot, who.host, 0.0, "running", "")
    life = Life()
    assert life.of(engine, 0.0) and life.of(engine, 0.0)
    child.kill()
    child.wait()
    assert not life.of(engine, 0.0)
    assert not life.of(None, 0.0)


def test_a_build_from_the_cache_is_called_that():
    assert phases("ok", 0.0, 14.0) == ["build cached", "all 14.0s"]
    assert phases("ok", 1.94, 14.0) == ["build 1.9s", "all 14.0s"]
    assert phases("build", 0.0, 3.0) == ["all 3.0s"]
