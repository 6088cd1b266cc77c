"""Journals of earlier schemas: upgraded in place with nothing lost, and read as they are by who only looks.

`journals/schema-N.db.gz` is a journal that the release with schema N wrote, with every kind of event in it.
"""

from __future__ import annotations

import contextlib
import gzip
import os
import shutil
import signal
import sqlite3
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from engine.record import commands, schema
from engine.record import events as ev
from engine.record.errors import JournalError
from engine.record.journal import Journal
from engine.record.reader import Reader

STORED = Path(__file__).with_name("journals")
EARLIER = range(1, schema.VERSION)
STRIDE = 13  # with none of the periods in what is written, so that every kind of moment is met
EVENTS = 60_000  # enough that an upgrade takes long enough to be killed in its middle


@pytest.fixture(params=EARLIER, ids=lambda version: f"schema-{version}")
def old(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """A stored journal of an earlier schema, where a run has it."""
    path = tmp_path / "journal.db"
    path.write_bytes(gzip.decompress((STORED / f"schema-{request.param}.db.gz").read_bytes()))
    return path


def everything(path: Path) -> dict[str, Any]:
    """All that a viewer can ask of a journal; in a long one not of each of its moments."""
    with Reader(path) as r:
        moments = range(1, r.last_seq() + 2, 1 if r.last_seq() < 500 else STRIDE)
        return {
            "events": r.events(limit=10_000),
            "tail": r.tail(7, kinds=("attempt", "gate", "said")),
            "versions": r.versions(),
            "attempts": r.attempts(),
            "scores": [r.attempt_score(a.attempt) for a in r.attempts()],
            "counts": r.counts(),
            "kinds": sorted(r.follow_kinds()),
            "baselines": r.baselines(),
            "alerts": r.alerts(),
            "interventions": r.interventions(),
            "directions": r.directions(),
            "commands": r.commands(),
            "spend": r.spend(),
            "engine": r.engine(),
            "live": r.live(),
            "head": (r.head(), r.incumbent(), r.undoable()),
            "search": [r.search(words) for words in ("packed", "slower pack", "remember")],
            "near": r.search_near("packed", before=20),
            "tried": [r.attempts_with(words) for words in ("packed", "slower pack")],
            "earlier": [(r.spend_before(n), r.directions_before(n)) for n in moments],
        }


def shape(path: Path) -> list[tuple[Any, ...]]:
    """The tables, indexes and triggers of a database."""
    with contextlib.closing(sqlite3.connect(path)) as db:
        return sorted(db.execute("SELECT type, name, tbl_name, sql FROM sqlite_master").fetchall(), key=str)


def test_there_is_a_journal_of_every_earlier_schema() -> None:
    assert {p.name for p in STORED.iterdir()} == {f"schema-{n}.db.gz" for n in EARLIER}


def test_a_viewer_reads_an_older_journal_and_leaves_it_as_it_is(old: Path) -> None:
    before = old.read_bytes()
    seen = everything(old)
    assert seen["counts"] == (4, 5)
    assert len(seen["events"]) == sum(count for _, count in seen["kinds"])
    assert {e.kind for e in seen["events"]} == set(ev.kinds())
    assert old.read_bytes() == before


def test_an_upgrade_loses_nothing_and_ends_in_the_schema_of_a_new_journal(old: Path, tmp_path: Path) -> None:
    seen = everything(old)
    Journal.open(old).close()
    assert everything(old) == seen
    Journal.create(tmp_path / "new.db", "new").close()
    assert shape(old) == shape(tmp_path / "new.db")
    with contextlib.closing(sqlite3.connect(old)) as db:
        assert db.execute("PRAGMA integrity_check").fetchone() == ("ok",)


def test_the_journal_as_it_was_stays_beside_it(old: Path) -> None:
    with Reader(old) as reader:
        version = int(reader.meta("schema") or 0)
    seen = everything(old)
    Journal.open(old).close()
    backup = schema.backup_of(old, version)
    assert stat.S_IMODE(backup.stat().st_mode) == 0o600
    assert everything(backup) == seen
    with Reader(backup) as reader, Reader(old) as now:
        assert reader.meta("schema") == str(version)
        assert (now.meta("schema"), now.meta("upgraded_from")) == (str(schema.VERSION), str(version))


def test_an_upgraded_journal_is_written_on_and_counts_what_comes(old: Path) -> None:
    with Journal.open(old) as journal, Reader(old) as reader:
        versions, attempts = reader.counts()
        score = reader.attempt_score(1)
        assert score is not None
        journal.append(ev.AttemptScored(99, 5, 1, "d", "more", "hash99", score), ev.Noted("more"))
        journal.append(ev.VersionCommitted(9, "sha9", 1, 99, "improved", "d", "n", score))
        assert reader.counts() == (versions + 1, attempts + 1)
        assert dict(reader.follow_kinds())["note"] == 2
    before = set(old.parent.iterdir())
    Journal.open(old).close()
    assert set(old.parent.iterdir()) == before, "today's journal needs no backup"


def test_a_command_reaches_an_older_journal_before_its_engine_upgrades_it(old: Path) -> None:
    number = commands.send(old, "pause", person="ada")
    with Journal.open(old) as journal:
        journal.answer(ev.CommandChanged(number, "pause", "applied", "ada"))
    with Reader(old) as reader:
        assert reader.commands()[-1].state == "applied"


def test_a_step_that_fails_leaves_the_journal_as_it_was(old: Path) -> None:
    with contextlib.closing(sqlite3.connect(old)) as db:
        db.execute("CREATE TABLE direction_changes (in_the_way)")
    seen = everything(old)
    with pytest.raises(JournalError, match="could not be upgraded to 3: table direction_changes already") as caught:
        Journal.open(old)
    assert "\n" not in str(caught.value)
    assert everything(old) == seen


@pytest.fixture
def cramped(old: Path) -> Iterator[Path]:
    """The journal in a folder without room for another file; root, who writes everywhere, gets a full disk."""
    if os.geteuid():
        old.parent.chmod(0o500)
        yield old
        old.parent.chmod(0o700)
        return
    disk = old.parent / "disk"
    disk.mkdir()
    size = f"size={old.stat().st_size // 4096 * 4 + 40}k"
    if subprocess.run(["mount", "-t", "tmpfs", "-o", size, "none", disk], capture_output=True).returncode:
        pytest.skip("needs mount, to make a full disk")
    shutil.copyfile(old, disk / old.name)
    yield disk / old.name
    subprocess.run(["umount", "-l", disk], check=True)


def test_without_room_for_the_backup_nothing_is_touched(cramped: Path) -> None:
    seen = everything(cramped)
    with pytest.raises(JournalError, match=r"cannot be written|could not be upgraded"):
        Journal.open(cramped)
    assert everything(cramped) == seen
    assert not list(cramped.parent.glob("*.new")) and not list(cramped.parent.glob("*.schema-*"))


_OPENER = """
import sys
from pathlib import Path
from engine.record.journal import Journal
print("open", flush=True)
Journal.open(Path(sys.argv[1])).close()
print("done", flush=True)
"""


def test_an_engine_killed_during_the_upgrade_leaves_a_journal_that_the_next_one_upgrades(old: Path) -> None:
    with contextlib.closing(sqlite3.connect(old, isolation_level=None)) as db:
        db.execute("BEGIN")
        db.executemany("INSERT INTO events (at, kind, title, data) VALUES (1, ?, 't', '{}')", [("x",)] * EVENTS)
        db.execute("COMMIT")
    was = _count(old)
    for wait_s in (0.0, 0.02, 0.06):
        opener = subprocess.Popen([sys.executable, "-c", _OPENER, str(old)], stdout=subprocess.PIPE)
        assert opener.stdout is not None
        opener.stdout.readline()
        with contextlib.suppress(subprocess.TimeoutExpired):  # the moment of the kill is the subject
            opener.wait(wait_s)
        opener.send_signal(signal.SIGKILL)
        opener.wait()
        opener.stdout.close()
        assert _count(old) == was
    Journal.open(old).close()
    assert _count(old) == was
    assert not list(old.parent.glob("*.new"))


_TORN = """
import os, signal, sqlite3, sys
db = sqlite3.connect(sys.argv[1], isolation_level=None)
db.execute("PRAGMA journal_mode = DELETE")
db.execute("PRAGMA cache_size = 1")
db.execute("BEGIN")
db.execute("UPDATE events SET title = 'half' || hex(randomblob(2000))")
os.kill(os.getpid(), signal.SIGKILL)
"""


def test_what_a_killed_writer_left_half_done_is_taken_back_by_who_only_reads(tmp_path: Path) -> None:
    path = tmp_path / "journal.db"
    with Journal.create(path, "a-run") as journal:
        for n in range(50):
            journal.append(ev.Said(f"whole {n}", 1))
    subprocess.run([sys.executable, "-c", _TORN, path], check=False)
    assert path.with_name("journal.db-journal").stat().st_size > 0
    with Reader(path) as reader:
        assert all("whole" in entry.title for entry in reader.tail(50))


def _count(path: Path) -> int:
    with Reader(path) as reader:
        assert dict(reader.follow_kinds())["x"] == EVENTS
        return reader.last_seq()


@pytest.mark.timeout(300)  # nine hundred writes that reach the disk, one by one
def test_what_an_upgrade_computes_is_what_a_journal_writes_as_it_goes(tmp_path: Path) -> None:
    path = tmp_path / "journal.db"
    with Journal.create(path, "a-run") as journal:
        for n in range(900):
            why = f"because {n}" if n % 3 else ""
            state = ("offered", "pursued", "regressed")[n % 3]
            journal.append(
                ev.Spent("turn", n, 2, 3, 4, None if n % 7 else 0.25, "m"),
                ev.DirectionChanged(f"d{n % 11}", f"name {n}", "person" if n % 2 else "agent", state, why, n),
                at=1000.0 + n,
            )
    tables = ("spend_marks", "direction_changes")
    with contextlib.closing(sqlite3.connect(path)) as db:
        written = [db.execute(f"SELECT * FROM {t}").fetchall() for t in tables]
        db.executescript("".join(f"DROP TABLE {t};" for t in (*tables, "search_attempts")))
        db.execute("UPDATE meta SET value = '2' WHERE key = 'schema'")
        db.commit()
    seen = everything(path)
    Journal.open(path).close()
    with contextlib.closing(sqlite3.connect(path)) as db:
        assert [db.execute(f"SELECT * FROM {t}").fetchall() for t in tables] == written
    assert [len(rows) for rows in written] == [4, 900]
    assert everything(path) == seen
