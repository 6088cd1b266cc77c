"""Who looks at a run is known to everyone who looks, and to nobody once they are gone."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from avo_tui import presence
from avo_tui.widgets.bars import PulseBar
from engine.record.run import RunFolder
from tests.room.pilot import open_room, room_of, until

LOOK = """
import sys
from pathlib import Path
from avo_tui.presence import Presence
with Presence(Path(sys.argv[1]), readonly=True):
    print("here", flush=True)
    sys.stdin.read()
"""


def viewer(run: RunFolder, person: str) -> subprocess.Popen[str]:
    """Another process that looks, as another person."""
    process = subprocess.Popen(
        [sys.executable, "-c", LOOK, str(run.path)], env={**os.environ, "AVO_PERSON": person},
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert process.stdout is not None
    assert process.stdout.readline() == "here\n"
    return process


def test_a_viewer_is_seen_until_it_leaves(run: RunFolder):
    with presence.Presence(run.path) as me:
        (seen,) = presence.lookers(run.path)
        assert (seen.person, seen.pid, seen.here, seen.readonly, seen.how) == (
            "grace",
            os.getpid(),
            True,
            False,
            "room",
        )
        me.come()
        assert len(presence.lookers(run.path)) == 1
    assert presence.lookers(run.path) == ()
    assert list((run.path / "viewers").iterdir()) == []


def test_a_viewer_that_was_killed_is_gone_at_once_and_its_file_with_it(run: RunFolder):
    ada, bob = viewer(run, "ada"), viewer(run, "bob")
    assert presence.names(presence.lookers(run.path)) == ["ada", "bob"]
    ada.kill()
    ada.communicate()
    assert presence.names(presence.lookers(run.path)) == ["bob"]
    assert len(list((run.path / "viewers").iterdir())) == 1
    bob.communicate()


def test_one_person_twice_is_one_name(run: RunFolder):
    with presence.Presence(run.path), presence.Presence(run.path):
        assert presence.names(presence.lookers(run.path)) == ["grace ×2"]


def test_a_run_that_is_nobody_s_to_write_to_is_looked_at_unseen(tmp_path: Path):
    (tmp_path / "viewers").write_text("not a folder")
    with presence.Presence(tmp_path):
        assert presence.lookers(tmp_path) == ()
    with presence.Presence(tmp_path / "gone"):
        assert not (tmp_path / "gone").exists()


@pytest.mark.parametrize("text", ["", "[]", '{"person": 1}', "\x00\xff"])
def test_a_file_that_no_viewer_wrote_is_nobody(run: RunFolder, text: str):
    with presence.Presence(run.path) as me:
        assert me._path is not None
        me._path.write_text(text, "latin-1")
        assert presence.lookers(run.path) == ()


def test_a_name_cannot_move_the_cursor(run: RunFolder, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("AVO_PERSON", "e\x1b[2Jve\u202e")
    with presence.Presence(run.path):
        assert presence.names(presence.lookers(run.path)) == ["e[2Jve"]


@pytest.mark.parametrize(
    ("width", "words"), [(80, "+1 LIVE 1s"), (120, "with ada  LIVE 1s"), (200, "with ada  LIVE 1s")]
)
async def test_the_room_names_who_else_looks_says_when_they_come_and_when_they_leave(
    run: RunFolder, width: int, words: str
):
    async with open_room(run, (width, 40)) as (app, pilot):
        pulse = room_of(app).query_one("#pulse", PulseBar)
        assert words not in pulse.text()
        ada = viewer(run, "ada")
        await until(pilot, lambda: app.snapshot.company)
        assert words in pulse.text()
        assert "ada looks on now" in app.message[0][0]
        await pilot.press("5", "5")
        assert "with ada" in room_of(app).panes["commands"].text()
        ada.communicate()
        await until(pilot, lambda: not app.snapshot.company)
        assert "no longer" in app.message[0][0]
        assert words not in pulse.text()


async def test_looking_writes_nothing_but_one_small_file(run: RunFolder):
    others = [p for p in run.path.iterdir() if p.name != "viewers" and not p.name.endswith(("-shm", "-wal"))]
    before = {p.name: p.stat().st_mtime_ns for p in others}
    async with open_room(run, readonly=True) as (_, pilot):
        await until(pilot, lambda: presence.lookers(run.path))
        (file,) = (run.path / "viewers").iterdir()
        assert file.stat().st_size < 200
        assert json.loads(file.read_text())["readonly"] is True
    after = {p.name: p.stat().st_mtime_ns for p in run.path.iterdir() if p.name in before}
    assert after == before
    assert not list((run.path / "viewers").iterdir())


def test_the_status_tells_who_looks(run: RunFolder):
    avo = [sys.executable, "-m", "avo_tui.cli", "status", str(run.path)]
    assert "looking" not in subprocess.run(avo, capture_output=True, text=True, check=True).stdout
    ada = viewer(run, "ada")
    assert "looking    ada\n" in subprocess.run(avo, capture_output=True, text=True, check=True).stdout
    told = json.loads(subprocess.run([*avo, "--json"], capture_output=True, text=True, check=True).stdout)
    assert [(one["person"], one["readonly"]) for one in told["viewers"]] == [("ada", True)]
    ada.communicate()
