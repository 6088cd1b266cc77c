"""Journeys in a real terminal: real processes, a real pty, a real engine's journal. What a person would do and see."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from engine.record.reader import Reader
from engine.record.run import RunFolder
from tests.room.terminal import Terminal

STAGE = (sys.executable, "-m", "tests.room.stage")


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[tuple[RunFolder, subprocess.Popen[bytes]]]:
    """A scripted engine that lives in its own process: it beats, streams and answers commands."""
    run = RunFolder(tmp_path / "mha_cpu-live")
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.room.scripted", str(run.path)], stdout=subprocess.PIPE, start_new_session=True
    )
    assert process.stdout is not None
    process.stdout.readline()
    yield run, process
    if process.poll() is None:
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    process.stdout.close()


def attach(run: RunFolder, *more: str, width: int = 120, height: int = 40, **env: str) -> Terminal:
    """A terminal with the room on a run."""
    return Terminal([*STAGE, str(run.path), *more], width=width, height=height, env=env)


@pytest.mark.parametrize("size", [(80, 24), pytest.param((120, 40), marks=pytest.mark.soak)])
def test_attach_pause_direct_review_roll_back_undo_detach(engine, size):
    run, process = engine
    with attach(run, width=size[0], height=size[1]) as t:
        t.until(r"● RUNNING.*LIVE \ds")
        t.press("P")
        t.until(r"‖ PAUSED")
        t.press("I")
        t.until("Direct the operator")
        t.press("pack V too", "ctrl+s")
        t.until("Send this direction")
        t.press("enter")
        t.until(r"#\d+ direct .*applied")
        t.press("3", "j", "enter")
        t.until(r"1 Diff")
        t.until(r"@@ \d+")
        t.press("2")
        t.until("torch_sdpa")
        t.press("esc")
        t.until("Versions")
        t.press("R")
        target = t.until(r"type (v\d+)").group(1)
        t.until(r"\+\d+ .\d+")
        t.press(f"\t{target}\r")  # in one burst, as over a bad line
        t.until(rf"{target} .* best|● {target} ")
        t.until(r"#\d+ rollback .*applied")
        t.press("Z")
        t.until("Tab, Enter undo")
        t.press("tab", "enter")
        t.until(r"#\d+ undo .*applied")
        t.press("P")
        t.until("RUNNING")
        t.press("q")
        assert t.wait() == 0
        assert t.restored() == []
    assert process.poll() is None, "detaching must not stop the engine"
    with Reader(run.journal) as reader:
        mine = [(c.verb, c.state) for c in reader.commands() if c.person == "grace"]
    assert mine == [(verb, "applied") for verb in ("pause", "direct", "rollback", "undo", "resume")]


def test_killing_the_viewer_leaves_the_engine_alive_and_a_second_viewer_attaches(engine):
    run, process = engine
    with attach(run) as t:
        t.until("LIVE")
        os.killpg(t.process.pid, signal.SIGKILL)
        t.process.wait()
    before = process.stdout.readline()
    assert before
    with attach(run, width=80, height=24) as t, attach(run) as u:
        t.until("RUNNING")
        u.until("RUNNING")
        t.press("P")
        t.until("PAUSED")
        u.until("PAUSED")


def test_a_killed_engine_is_said_to_be_dead_at_once(engine):
    run, process = engine
    with attach(run, width=160, height=50) as t:
        t.until("LIVE")
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        t.until(r"✗ CRASHED.*✗ DEAD", 5)
        t.until("avo resume mha_cpu-live")
        t.press("P")
        t.until("no engine is running")
        t.press("q")
        assert t.wait() == 0


def test_what_the_engine_writes_is_on_the_screen_soon(engine):
    run, _ = engine
    with attach(run) as t:
        t.until("RUNNING")
        t.press("P")
        t.until("PAUSED")
        t.settle(0.5, 3)
        from engine.record import events as ev
        from engine.record.journal import Journal

        delays = []
        for i in range(10):
            with Journal.open(run.journal) as journal:
                journal.append(ev.Said(f"fact-{i}-written", 1))
            start = time.monotonic()
            t.until(f"fact-{i}-written", 5)
            delays.append(time.monotonic() - start)
        assert sorted(delays)[len(delays) // 2] < 1.0, delays


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_the_terminal_is_given_back_after_a_signal(story: RunFolder, number: signal.Signals):
    with attach(story) as t:
        t.until("Scores")
        os.kill(t.process.pid, number)
        assert t.wait() == 128 + number
        assert t.restored() == []


def test_it_leaves_when_its_terminal_is_gone_without_a_word(story: RunFolder):
    with attach(story) as t:
        t.until("Scores")
        t.hang_up()
        assert t.process.wait(20) == 128 + signal.SIGHUP


def test_a_stop_that_nobody_told_it_of_leaves_one_reader_of_keys_and_an_orderly_end(story: RunFolder):
    """As kill -STOP and -CONT do; the kernel also continues whom it hangs up."""
    with attach(story) as t:
        t.until("Scores")
        threads = Path(f"/proc/{t.process.pid}/task")
        before = len(list(threads.iterdir()))
        for _ in range(2):
            os.kill(t.process.pid, signal.SIGSTOP)
            os.kill(t.process.pid, signal.SIGCONT)
            t.press("3")
            t.until("Trajectory")
            t.press("1")
            t.until("Scores")
        assert len(list(threads.iterdir())) < before + 4, "each stop left two threads behind"
        os.kill(t.process.pid, signal.SIGCONT)
        os.kill(t.process.pid, signal.SIGTERM)
        assert t.wait() == 128 + signal.SIGTERM
        assert t.restored() == []


def test_the_terminal_is_given_back_after_a_crash(run: RunFolder):
    code = (
        "import sys; from pathlib import Path; from avo_tui.app import AvoApp; from engine.record.run import RunFolder\n"
        "class Broken(AvoApp):\n"
        "    def take(self, snapshot): raise RuntimeError('on purpose')\n"
        f"Broken(RunFolder(Path({str(run.path)!r}))).run()\n"
    )
    script = run.path / "broken.py"
    script.write_text(code)
    with Terminal([sys.executable, str(script)], width=100, height=30, env={"PYTHONPATH": str(Path.cwd())}) as t:
        t.wait()
        assert t.restored() == []
        assert b"on purpose" in t.raw
        assert f"and its run goes on: avo attach {run.name}".encode() in t.raw


def test_native_writes_to_stderr_do_not_reach_the_screen(run: RunFolder, home: Path):
    # Written as soon as the room has taken the process's standard error away from the terminal.
    code = (
        "import os, threading, time; from pathlib import Path; from avo_tui.attach import main; from engine.record.run import RunFolder\n"
        "def says(terminal):\n"
        "    while os.path.samestat(os.fstat(2), terminal): time.sleep(0.02)\n"
        "    os.write(2, b'CUDA SAYS BOO')\n"
        "threading.Thread(target=says, args=(os.fstat(2),), daemon=True).start()\n"
        f"main(RunFolder(Path({str(run.path)!r})))\n"
    )
    with Terminal([sys.executable, "-c", code], width=100, height=30) as t:
        t.until("Scores")
        log = home / "state" / "avo" / "room.log"
        deadline = time.monotonic() + 10
        while time.monotonic() < deadline and not (log.exists() and b"BOO" in log.read_bytes()):
            t.pump(0.1)
        assert b"BOO" in log.read_bytes()
        assert "BOO" not in t.text()
        t.press("q")
        assert t.wait() == 0


@pytest.mark.parametrize("term", ["dumb", ""])
def test_a_dumb_terminal_gets_one_clear_line(story: RunFolder, term: str):
    code = f"from pathlib import Path; from avo_tui.attach import main; from engine.record.run import RunFolder; main(RunFolder(Path({str(story.path)!r})))"
    with Terminal([sys.executable, "-c", code], width=100, height=30, env={"TERM": term, "COLORTERM": ""}) as t:
        assert t.wait() == 1
        assert b"cannot show the control room" in t.raw
        assert b"\x1b[?1049h" not in t.raw


def test_a_terminal_that_is_too_small_says_so_and_recovers(story: RunFolder):
    with attach(story, width=50, height=12) as t:
        t.until("too small: enlarge to 60×15")
        t.resize(80, 24)
        t.until("1 Scores")
        t.resize(40, 10)
        t.until("too small")
        t.resize(200, 60)
        t.until("7 Context")
        t.press("q")
        assert t.wait() == 0


def test_forty_sizes_in_a_row_leave_a_right_screen(story: RunFolder):
    with attach(story) as t:
        t.until("Scores")
        for i in range(40):
            t.resize(60 + i * 6, 15 + i * 2)
            t.pump(0.02)
        t.resize(120, 40)
        t.settle(0.5)
        t.until("GFLOPS over versions")
        assert all(len(line.rstrip()) <= 120 for line in t.screen.display)


def test_hostile_text_stays_text(run: RunFolder):
    from engine.record import events as ev
    from engine.record.journal import Journal

    nasty = "\x1b[2J\x1b]0;owned\x07\x1b[?1049lgone \u202eevil \x9b31mred \r\nnext שלום\x00"
    with Journal.open(run.journal) as journal:
        journal.append(
            ev.Said(nasty, 1),
            ev.ToolStarted("x", "shell", {"command": nasty}),
            ev.ToolFinished("x", "shell", False, nasty * 50, 0.1),
            ev.AlertRaised(77, "critical", "x", nasty, nasty),
            ev.Noted(nasty),
            ev.DirectionChanged("n", nasty, "person", "pursued", nasty),
        )
        journal.live("stream", nasty)
        journal.live("activity", nasty)
        journal.live("output", nasty)
    with attach(run, width=200, height=60) as t:
        t.until("gone evil red")
        t.press("2", "o")
        t.settle()
        for bad in (b"owned", b"\x1b[2J\x1b]0", "\u202e".encode(), b"\x9b31m"):
            assert bad not in t.raw.replace(b"\x1b]0;owned", b"!") or bad == b"owned"
        assert b"\x1b]0;owned" not in t.raw


def test_a_run_folder_that_vanishes_is_said_and_its_return_noticed(run: RunFolder):
    away = run.path.with_name("elsewhere")
    with attach(run, width=160) as t:
        t.until("Scores")
        run.path.rename(away)
        t.until("folder is gone", 10)
        t.press("2", "k")
        away.rename(run.path)
        t.gone("folder is gone", 15)
        t.press("q")
        assert t.wait() == 0


def test_a_direction_is_written_in_the_person_s_own_editor(engine, tmp_path: Path):
    run, _ = engine
    editor = tmp_path / "editor"
    editor.write_text('#!/bin/sh\nprintf "split long rows\\nover two threads\\n" >> "$1"\n')
    editor.chmod(0o755)
    with attach(run, EDITOR=str(editor)) as t:
        t.until("RUNNING")
        t.press("I")
        t.until("Direct the operator")
        t.press("ctrl+g")
        t.until("over two threads")
        t.press("ctrl+s")
        t.until("Send this direction")
        t.press("enter")
        t.until(r"#\d+ direct .*applied")
        t.press("q")
        assert t.wait() == 0
        assert t.restored() == []
    with Reader(run.journal) as reader:
        sent = [c.arguments["text"] for c in reader.commands() if c.person == "grace"]
    assert sent == ["split long rows\nover two threads"]


def test_two_people_steer_one_run_and_each_sees_who_did_what(engine):
    run, _ = engine
    with attach(run, width=200, height=60, AVO_PERSON="linus") as t, attach(run, width=200, height=60) as u:
        t.until("RUNNING")
        u.until("RUNNING")
        t.press("P")
        u.until(r"pause .*applied.* linus")
        u.until("PAUSED")  # what P means is what the person sees, and the state is painted apart from the commands
        u.press("P")
        t.until(r"resume .*applied.* grace")


def test_copying_reaches_the_clipboard_and_what_is_grave_rings_while_nobody_looks(run: RunFolder, home: Path):
    from engine.record import events as ev
    from engine.record.journal import Journal

    with attach(run) as t:
        t.until("1 Scores")
        t.press("3", "y")
        t.until("copied")
        t.receive(rb"\x1b\]52;c;")
        t.receive(rb"\x1b\]2;")  # the window has a title
        assert b"\a" not in re.sub(rb"\x1b\][^\x07]*\x07", b"", t.raw)
        t.press("\x1b[O")  # the terminal says that another window has the focus
        t.settle(0.5)
        with Journal.open(run.journal) as journal:
            journal.append(ev.AlertRaised(50, "critical", "disk", "the disk is full", "0 bytes left"))
        t.until("the disk is full")
        t.receive(rb"\x1b\]2;[^\x07]*the disk is full")
        assert re.sub(rb"\x1b\][^\x07]*\x07", b"", t.raw).count(b"\a") == 1
        t.press("q")
        assert t.wait() == 0
