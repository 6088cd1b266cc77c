"""Inside tmux and GNU screen, at 80x24 in 256 colours: the room is as it is outside, and leaves a clean terminal."""

from __future__ import annotations

import os
import shlex
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from engine.record.run import RunFolder
from tests.room.terminal import Terminal

ROWS = ("1 Scores 2 Transcript 3 Versions 4 Output 5 Steering 6 Attempts 7 Context", "full_256", "geomean", "FOLLOW ▼")


def inside(name: str, home: Path, command: str) -> list[str]:
    """A multiplexer with its usual settings, and a shell in it that runs a command."""
    found = shutil.which(name)
    if found is None:
        pytest.skip(f"{name} is not installed")
    script = f"echo before; {command}; echo after, code $?; exec sleep 60"
    if name == "tmux":
        return [found, "-S", str(home / "t"), "-f", "/dev/null", "new-session", script]
    return [found, "-U", "-c", "/dev/null", "-T", "screen-256color", "sh", "-c", script]


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[RunFolder]:
    """A scripted engine that lives in its own process."""
    run = RunFolder(tmp_path / "mha_cpu-live")
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.room.scripted", str(run.path)], stdout=subprocess.PIPE, start_new_session=True
    )
    assert process.stdout is not None
    process.stdout.readline()
    yield run
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    process.stdout.close()


@pytest.fixture
def home_of_sockets(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A short path, private as screen wants it."""
    home = tmp_path_factory.mktemp("mux")
    home.chmod(0o700)
    return home


@pytest.mark.parametrize("name", ["tmux", "screen"])
def test_the_room_is_right_inside_and_gives_the_terminal_back(engine: RunFolder, home_of_sockets: Path, name: str):
    avo = shlex.join([sys.executable, "-m", "avo_tui.cli", "attach", str(engine.path)])
    env = {"COLORTERM": "", "SCREENDIR": str(home_of_sockets), "TMUX_TMPDIR": str(home_of_sockets)}
    with Terminal(inside(name, home_of_sockets, avo), width=80, height=24, env=env) as t:
        try:
            t.until("LIVE")
            for words in ROWS:
                t.until(words)
            colours = {t.screen.buffer[y][x].fg for y in range(24) for x in range(80)}
            assert len(colours - {"default"}) >= 5, "it is in colours"
            t.press("3")
            t.until("GFLOPS over versions")
            t.press("?")
            t.until("Steer the run")
            t.press("q")
            t.gone("Steer the run")
            t.press("q")
            t.until("after, code 0")
            assert "goes on; 'avo attach" in t.text()
            assert "Scores" not in t.text(), "nothing of the room is left on the screen"
            assert t.screen.cursor.hidden is False
        finally:
            end(name, home_of_sockets, t)


def end(name: str, home: Path, t: Terminal) -> None:
    """End the multiplexer's server, which outlives the terminal."""
    env = {**os.environ, "SCREENDIR": str(home)}
    if name == "tmux":
        subprocess.run(["tmux", "-S", str(home / "t"), "kill-server"], env=env, capture_output=True)
    else:
        subprocess.run(["screen", "-X", "quit"], env=env, capture_output=True)
    deadline = time.monotonic() + 10
    while t.process.poll() is None and time.monotonic() < deadline:
        t.pump(0.05)
