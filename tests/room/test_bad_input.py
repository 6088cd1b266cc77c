"""What a run may do to the room: torn clocks, a million attempts, endless outputs, damage. It stays up and says so."""

from __future__ import annotations

import shutil
import sqlite3
import time
from pathlib import Path

import pytest

from avo_tui.screens.review import ReviewScreen
from avo_tui.widgets.stream import Stream
from engine.record import events as ev
from engine.record.journal import Journal
from engine.record.reader import Reader
from engine.record.run import RunFolder
from tests.room import long, scripted
from tests.room.pilot import open_room, room_of, until
from tests.room.terminal import Terminal
from tests.room.test_journeys import STAGE, attach

DAY = 86_400.0


async def test_a_day_s_gap_and_a_clock_that_jumps_back_are_shown_and_travelled(run: RunFolder):
    end = scripted.end_of(run)
    with Journal.open(run.journal) as journal:
        for name, at in (
            ("after the gap", end + DAY),
            ("clock set back", end - 2 * DAY),
            ("and forward", end + 3 * DAY),
        ):
            journal.append(ev.Said(f"{name} it went on", 99), at=at)
            journal.append(ev.AlertRaised(int(at), "warning", "clock", name, name), at=at)
    async with open_room(run, clock=lambda: end + 3 * DAY) as (app, pilot):
        await until(pilot, lambda: "and forward it went on" in room_of(app).panes["transcript"].text())
        assert all(
            "-" not in line.split()[-1] for line in room_of(app).panes["versions"].text().splitlines()[1:] if line
        )
        for text in ("-2d", "+1d", "a30", "#700", "now", "-9d"):
            room_of(app).obey("goto", text)
            await until(pilot, lambda: app.snapshot.at == app.asked)
        app.player.speed = 3600
        app.play()
        await until(pilot, lambda: not app.player.playing, 30)
        assert app.snapshot.at == app.asked
        await pilot.press("f")
        await until(pilot, lambda: app.snapshot.at is None)


@pytest.mark.parametrize("attempts", [100_000, pytest.param(1_000_000, marks=pytest.mark.soak)])
async def test_a_million_attempts_neither_fill_the_memory_nor_hide_the_newest(tmp_path: Path, attempts: int):
    run = long.write(tmp_path / "busy", 1000, attempts=attempts)
    async with open_room(run) as (app, pilot):
        pane = room_of(app).panes["attempts"]
        await pilot.press("6")
        assert app.snapshot.attempts >= attempts
        assert pane.count() == 600
        await pilot.press("left_square_bracket")
        await until(pilot, lambda: app.snapshot.at is not None)
        await pilot.press("f")
        await until(pilot, lambda: app.snapshot.at is None)
        await pilot.press("G", "G")
        assert pane.count() == 1800
    shutil.rmtree(run.path)  # 400 MB that nobody needs kept


async def test_ten_megabytes_of_output_are_shown_by_their_ends(run: RunFolder):
    flood = "".join(f"line {i} of a very long build log\n" for i in range(300_000))
    assert len(flood) > 10_000_000
    (run.artifacts / "flood.log").write_text(flood)
    with Journal.open(run.journal) as journal:
        journal.append(
            ev.ToolStarted("z", "shell", {"command": "make " + "x" * 100_000}, 99),
            ev.ToolFinished("z", "shell", False, flood, 3.0, "flood.log"),
            ev.Said(flood, 99),
        )
        journal.live("output", flood)
        journal.live("stream", flood)
    async with open_room(run) as (app, pilot):
        talk = room_of(app).panes["transcript"]
        assert isinstance(talk, Stream)
        await until(pilot, lambda: "line 299999" in talk.text())
        await pilot.press("2", "o", "g", "G", "o")
        await pilot.press("4", "o", "g")
        assert "of 10," in room_of(app).panes["output"].copied() + "\n".join(
            str(row.line) for row in room_of(app).panes["output"].rows
        )
        took = []
        for _ in range(10):
            start = time.monotonic()
            await pilot.press("k")
            took.append(time.monotonic() - start)
        assert sorted(took)[5] < 0.5


def test_a_lineage_that_was_damaged_is_said_in_the_review_and_before_a_roll_back(run: RunFolder):
    shutil.rmtree(run.lineage / "objects")
    (run.lineage / "objects").mkdir()
    with attach(run, "--now", repr(scripted.end_of(run))) as t:
        t.until("RUNNING")
        t.press("3", "j", "enter")
        t.until(r"@@ \d+")
        t.until("this is against the parent|lineage|damaged|cannot")
        t.press("6")
        t.until("no sources")
        t.press("esc")
        t.gone("1 Diff")
        t.press("R")
        t.until("no diff:")
        t.press("esc")
        t.gone("no diff:")
        t.press("q")
        assert t.wait() == 0


def test_a_journal_that_is_torn_while_it_is_watched_is_said_and_its_repair_noticed(run: RunFolder):
    whole = run.journal.read_bytes()
    with attach(run, width=160) as t:
        t.until("1 Scores")
        beside = run.journal.with_name("torn")
        beside.write_bytes(whole[:4096] + b"\xa5" * (len(whole) - 4096))
        beside.replace(run.journal)
        t.until("malformed|damaged|not a database|gone|cannot be read")
        t.press("2", "k", "1")
        beside.write_bytes(whole)
        beside.replace(run.journal)
        t.gone("malformed|not a database|gone|cannot be read")
        t.press("3", "enter")
        t.until(r"@@ \d+")
        t.press("esc")
        t.gone("1 Diff")
        t.press("q")
        assert t.wait() == 0


def test_damaged_facts_hide_none_of_the_others(run: RunFolder):
    last = _last(run)
    with sqlite3.connect(run.journal) as db:
        for back, left in enumerate(('{"torn', "[1, 2]", "null", "{}", '{"score": 7, "items": 3}')):
            db.execute("UPDATE events SET data = ? WHERE seq = ?", (left, last - 5 - back))
    db.close()
    with attach(run, "--now", repr(scripted.end_of(run)), width=120) as t:
        t.until("RUNNING")
        t.until("damaged; 'avo verify'")
        t.press("<", "<")
        t.until("PAST")
        t.press("f")
        t.until("LIVE")
        t.press("q")
        assert t.wait() == 0


def test_while_the_run_is_gone_the_room_says_so_everywhere_and_afterwards_reads_what_is_there_now(run: RunFolder):
    kept = shutil.copytree(run.path, run.path.with_name("kept"))
    with Journal.open(RunFolder(kept).journal) as journal:
        journal.append(ev.Said("written while it was away", 99))
    with attach(run, "--now", repr(scripted.end_of(run)), width=80, height=24) as t:
        t.until("RUNNING.*LIVE")
        t.press("<")
        t.until("PAST")
        t.press("f")
        t.until("LIVE")
        shutil.rmtree(run.path)
        t.until(r"✗ UNREADABLE.* as of \d\d:\d\d[^\n]*\n the run's folder is gone; waiting for it to come back")
        for key in ("<", "p", "a"):
            t.press(key)
            t.until(r"\n[^\n]*the run's folder is gone[^\n]*\Z")
            t.press("P")
            t.until("not now: the run cannot be read")
        t.press("t", "v1", "enter")
        t.until(r"\n[^\n]*the run's folder is gone[^\n]*\Z")
        t.press("P")
        t.until("not now: the run cannot be read")
        t.press("6", "enter")
        t.until(r"(?s)gone; waiting.*1 Diff.*gone; waiting")
        kept.rename(run.path)
        t.until(r"@@ \d+")
        t.gone("UNREADABLE")
        t.press("esc")
        t.until("1 Scores")  # an escape and a letter that follow each other at once are one key
        t.press("t", f"#{_last(run)}", "enter")
        t.until(f"PAST #{_last(run)}")
        t.press("2")
        t.until("written while it was away")
        t.press("q")
        assert t.wait() == 0


def _last(run: RunFolder) -> int:
    with Reader(run.journal) as reader:
        return reader.last_seq()


def test_a_run_whose_engine_died_in_the_middle_of_a_call_opens_and_says_so(tmp_path: Path):
    run = scripted.write(tmp_path / "mha_cpu-died")
    with Journal.open(run.journal) as journal:
        journal.append(ev.ToolStarted("cut", "evaluate", {"suite": "full"}, 99))
    with sqlite3.connect(run.journal) as db:
        db.execute("UPDATE engine SET started = 1")  # a process of that number, but not that one
    db.close()
    with Terminal([*STAGE, str(run.path)], width=120, height=40) as t:
        t.until(r"✗ CRASHED.*✗ DEAD")
        t.until("avo resume mha_cpu-died")
        t.press("2", "space", "6", "enter")
        t.until("1 Diff")
        t.press("esc")
        t.gone("1 Diff")
        t.press("q")
        assert t.wait() == 0


async def test_right_to_left_and_wide_letters_keep_the_columns_apart(run: RunFolder):
    with Journal.open(run.journal) as journal:
        journal.append(
            ev.Said("\u05e9\u05dc\u05d5\u05dd \u202eevil \u6f22\u5b57 \U0001f469\u200d\U0001f467 e\u0301 ok", 99)
        )
    async with open_room(run) as (app, pilot):
        talk = room_of(app).panes["transcript"]
        await until(pilot, lambda: "\u6f22\u5b57" in talk.text())
        assert "\u202e" not in talk.text()
        await pilot.press("6", "enter")
        await until(pilot, lambda: isinstance(app.screen, ReviewScreen))
