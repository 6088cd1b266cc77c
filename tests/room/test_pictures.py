"""Pictures: every screen at three sizes, in truecolor, sixteen colours, monochrome and ASCII, kept as text.

A picture is what a real terminal shows of a real process: its letters, and below them how each stretch is
coloured. Run with AVO_PICTURES=new to write them again (AVO_SCREENS=help,room for some of them), and look at the
difference before committing it.
No clock decides when a picture is taken: a screen is right as soon as it equals the kept one.
"""

from __future__ import annotations

import difflib
import os
import re
import shutil
import sys
import time
from pathlib import Path

import pytest

from engine.record.reader import Reader
from engine.record.run import RunFolder
from tests.room import scripted
from tests.room.terminal import Terminal

FOLDER = Path(__file__).parent / "pictures"
SIZES = ((80, 24), (120, 40), (200, 60))
DEPTHS = {
    "truecolor": {},
    "16": {"TERM": "xterm", "COLORTERM": ""},
    "mono": {"NO_COLOR": "1"},
    "256": {"COLORTERM": ""},
    "ascii": {"LC_ALL": "C", "TERM": "xterm", "COLORTERM": ""},
    "light": {"COLORFGBG": "0;15"},
}
# A screen: the keys that lead to it, what is on it once it is there, and the keys back.
SCREENS: dict[str, tuple[tuple[str, ...], str, tuple[str, ...]]] = {
    "room": ((), "1 Scores", ()),
    "transcript": (("2", "+"), "Transcript", ("_",)),
    "steering": (("5",), "no gain in 16", ()),
    "attempts": (("6",), "a57 ", ()),
    "context": (("7",), "66 directions", ()),
    "review": (("3", "enter"), r"@@ \d+", ("esc",)),
    "review-scores": (("3", "enter", "2"), "worst relative error", ("esc",)),
    "side-by-side": (("3", "enter", "u"), r"@@ \d+", ("esc",)),
    "past": (("<", "<"), "PAST #841", ("f",)),
    "help": (("?",), "Steer the run", ("esc",)),
    "palette": (("ctrl+p",), "What to do", ("esc",)),
    "direct": (("I",), "Direct the operator", ("esc",)),
    "rollback": (("R",), r"(?s)\+\d+ .\d+.*Tab, then", ("esc",)),
    "away": (("a",), "Since you last looked", ("esc",)),
}
PATIENCE_S = 20.0  # for a screen to become right, on the slowest machine
SETTLED_S = 1.5  # without a byte, before a new picture is kept
FULLY = ("truecolor", "16", "mono")
ELSEWHERE = ("room", "review")


def screens_of(depth: str) -> list[str]:
    """Every screen in the three main depths, the main screens in the others."""
    return list(SCREENS) if depth in FULLY else list(ELSEWHERE)


def seldom(size: tuple[int, int], depth: str) -> bool:
    """What `make test` leaves to `make soak`: it looks at every size in truecolor and at every depth in the smallest."""
    return depth != "truecolor" and size != SIZES[0] and os.environ.get("AVO_PICTURES") != "new"


LOOKS = [
    pytest.param(size, depth, id=f"{size}-{depth}", marks=[pytest.mark.soak] * seldom(size, depth))
    for depth in DEPTHS
    for size in SIZES
]


@pytest.mark.parametrize(("size", "depth"), LOOKS)
def test_the_screens_look_as_they_did(story: RunFolder, tmp_path: Path, size: tuple[int, int], depth: str):
    look(story, tmp_path, size, depth, screens_of(depth))


def look(story: RunFolder, tmp_path: Path, size: tuple[int, int], depth: str, screens: list[str]) -> None:
    """Go through these screens, and compare each with its picture."""
    run = RunFolder(tmp_path / story.name)
    shutil.copytree(story.path, run.path)
    width, height = size
    command = [sys.executable, "-m", "tests.room.stage", str(run.path), "--now", repr(scripted.end_of(run))]
    wrong: list[str] = []
    commits = commits_of(run)
    with Terminal(command, width=width, height=height, env=DEPTHS[depth]) as t:
        t.until("RUNNING")
        only = set(filter(None, os.environ.get("AVO_SCREENS", "").split(",")))
        for name in (n for n in screens if not only or n in only):
            keys, there, back = SCREENS[name]
            t.press(*keys)
            t.until(there)
            wrong += check(f"{name}-{width}x{height}-{depth}", t, commits)
            t.press(*back)
            if "esc" in back:
                t.gone(there)
            t.press("0")
            t.until(r"1 Scores")
            t.gone("PAST")
    assert not wrong, "\n".join(wrong)


def commits_of(run: RunFolder) -> dict[str, str]:
    """Stand-ins for commit ids, which hold git's own dates."""
    with Reader(run.journal) as reader:
        return {v.commit[:n]: f"c{v.version:0{n - 1}}" for v in reader.versions() for n in (10, 7)}


def stable(t: Terminal, commits: dict[str, str]) -> str:
    """The picture, with stand-ins for what differs from run to run."""
    text = t.text()
    for commit, name in commits.items():
        text = text.replace(commit, name)
    return f"{text}\n\n{t.styles()}\n"


def check(name: str, t: Terminal, commits: dict[str, str]) -> list[str]:
    """Wait until the screen is the kept picture; how it differs when it never is. Or keep this one."""
    path = FOLDER / f"{name}.txt"
    if os.environ.get("AVO_PICTURES") == "new":
        FOLDER.mkdir(exist_ok=True)
        t.settle(SETTLED_S, 30.0)
        path.write_text(stable(t, commits), "utf-8")
        return []
    if not path.is_file():
        return [f"{path} is missing; AVO_PICTURES=new writes it"]
    kept = path.read_text("utf-8")
    deadline = time.monotonic() + PATIENCE_S
    while (seen := stable(t, commits)) != kept and time.monotonic() < deadline:
        t.pump(0.2)
    return list(difflib.unified_diff(kept.splitlines(), seen.splitlines(), f"{name} kept", "seen", lineterm="", n=1))


def test_no_picture_is_left_over():
    names = {f"{n}-{w}x{h}-{d}.txt" for d in DEPTHS for n in screens_of(d) for w, h in SIZES}
    assert {p.name for p in FOLDER.iterdir()} == names


def test_ascii_pictures_are_ascii_and_monochrome_ones_have_no_colour():
    for path in FOLDER.glob("*-ascii.txt"):
        assert path.read_text("utf-8").isascii(), path.name
    for path in FOLDER.glob("*-mono.txt"):
        styles = re.findall(r"^\S+ = (.+)$", path.read_text("utf-8"), re.M)
        assert {s.split(" on ")[0] for s in styles} == {"default"}, path.name
