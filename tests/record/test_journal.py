"""The journal keeps whole facts only, and its projections always agree with its events."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from engine.record import commands, schema
from engine.record import events as ev
from engine.record.errors import JournalError, JournalNewer, UsageError
from engine.record.journal import Journal
from engine.record.reader import Reader
from engine.record.scores import Check, ConfigurationScore, Integrity, Score


def score(tflops: float = 1.0) -> Score:
    entries = (ConfigurationScore("s256 full", True, tflops, 0.01, 12.5, 1e-7),)
    integrity = Integrity(tier="1", checks=(Check("needles", True, 0.02),), calls=9)
    return Score(
        "mha_cpu", True, "ok", "", "cpu", 1.0, entries, tflops, integrity=integrity, baselines={"sdpa": entries}
    )


def commit(journal: Journal, version: int, parent: int | None) -> None:
    attempt = version + 1
    journal.append(ev.AttemptScored(attempt, version, parent, "tiling", "Tile the keys", f"hash{attempt}", score()))
    journal.append(ev.GateDecided(attempt, "improved", "plain", 1.5, 1.4, 1.6, 2))
    journal.append(
        ev.VersionCommitted(version, f"sha{version}", parent, attempt, "improved", "tiling", "Tile", score())
    )


@pytest.fixture
def journal(tmp_path: Path) -> Journal:
    return Journal.create(tmp_path / "journal.db", "a-run")


def test_every_kind_of_event_survives_writing_and_reading(journal: Journal) -> None:
    facts: list[ev.Event] = [
        ev.RunStarted("mha_cpu", "playbook", 12, "host", resumed=True, note="found v3"),
        ev.StateChanged("paused", "by ada"),
        ev.StepStarted(3, 2),
        ev.Said("think\nmore", turn=4, reasoning=True),
        ev.ToolStarted("c1", "edit", {"path": "a.cpp", "old": "x"}, 4),
        ev.ToolFinished("c1", "edit", True, "done", 0.1, "artifacts/x.log"),
        ev.DirectionChanged("tiling", "Tile", "person", "obeyed", "yes"),
        ev.AttemptScored(1, 0, None, "seed", "Seed", "abc", score(), diff="+1"),
        ev.GateDecided(1, "matched", "within noise", 1.0, 0.99, 1.01, 8),
        ev.VersionCommitted(0, "sha", None, 1, "improved", "seed", "Seed", score()),
        ev.HeadMoved(0, 0, "rollback", 7),
        ev.BaselineMeasured("torch_sdpa", score(2.0)),
        ev.Profiled("abc", "hot loop", {"profile.vector_bits": 512}),
        ev.AlertRaised(1, "warning", "stall", "No progress", "8 attempts"),
        ev.AlertClosed(1, "ada"),
        ev.Intervened(1, "review", "saw", "diagnosis", ("a", "b", "c")),
        ev.InterventionJudged(1, True, "v4 came of it"),
        ev.CommandChanged(7, "rollback", "applied", "ada"),
        ev.Spent("turn", 10, 20, 30, 40, 0.5, "m"),
        ev.KnowledgeRead("online-softmax", "Claim", "softmax"),
        ev.PlanChanged((("1", "tile", "active"), ("2", "pack", "pending"))),
        ev.Noted("remember"),
        ev.EpochBegan(2, "the one before was full", 4000, True),
        ev.Waited("429", 7.0),
        ev.Warned("odd"),
    ]
    assert {f.kind for f in facts} == set(ev.kinds()), "add the new kind of event to this list"
    journal.append(*facts)
    with Reader(journal.path) as reader:
        assert [entry.event() for entry in reader.events()] == facts


def test_an_event_of_an_unknown_kind_is_kept_as_it_was_written(journal: Journal) -> None:
    with sqlite3.connect(journal.path) as db:
        db.execute("INSERT INTO events (at, kind, title, data) VALUES (1, 'of_the_future', 't', '{\"x\": 1}')")
    with Reader(journal.path) as reader:
        assert reader.events()[0].event() == ev.Raw("of_the_future", {"x": 1})


def test_rollback_withdraws_and_undo_brings_back_without_losing_a_version(journal: Journal) -> None:
    for version in range(4):
        commit(journal, version, version - 1 if version else None)
    journal.append(ev.HeadMoved(3, 1, "rollback"))
    with Reader(journal.path) as reader:
        assert [v.active for v in reader.versions()] == [True, True, False, False]
        assert reader.undoable() == (3, 1)
        commit(journal, 4, 1)
        assert [v.version for v in reader.versions() if v.active] == [0, 1, 4]
        journal.append(ev.HeadMoved(4, 3, "undo"))
        assert reader.head() == 3
        assert [v.version for v in reader.versions() if v.active] == [0, 1, 2, 3]
        assert reader.undoable() is None
        assert reader.counts() == (5, 5)


def test_a_failing_projection_leaves_no_event_behind(journal: Journal) -> None:
    commit(journal, 0, None)
    with Reader(journal.path) as reader:
        before = reader.last_seq()
        with pytest.raises(JournalError):
            journal.append(
                ev.Noted("same transaction"), ev.VersionCommitted(0, "x", None, 1, "improved", "d", "n", score())
            )
        assert reader.last_seq() == before
        assert reader.search("transaction") == []


_WRITER = """
import sys
from pathlib import Path
from engine.record import events as ev
from engine.record.journal import Journal
journal = Journal.open(Path(sys.argv[1]))
print("writing", flush=True)
n = 0
while True:
    n += 1
    journal.append(ev.AlertRaised(n, "info", "test", f"alert {n}", "x" * 2000), ev.Noted(f"note {n}"))
"""


def test_a_writer_killed_at_any_moment_leaves_whole_facts_only(journal: Journal) -> None:
    journal.close()
    for _ in range(3):
        with Reader(journal.path) as reader:
            start = reader.last_seq()
        with sqlite3.connect(journal.path) as db:
            db.execute("DELETE FROM alerts")
        writer = subprocess.Popen([sys.executable, "-c", _WRITER, str(journal.path)], stdout=subprocess.PIPE)
        assert writer.stdout is not None
        writer.stdout.readline()
        with Reader(journal.path) as reader:
            while reader.last_seq() < start + 20:
                pass
        os.kill(writer.pid, signal.SIGKILL)
        writer.wait()
        writer.stdout.close()
        with Reader(journal.path) as reader:
            entries = reader.events(start)
            assert len(entries) % 2 == 0
            assert len(reader.alerts()) == len(entries) // 2


def test_mark_changes_exactly_when_something_was_written(journal: Journal) -> None:
    with Reader(journal.path) as reader:
        first = reader.mark()
        assert reader.mark() == first
        journal.live("output", "compiling")
        second = reader.mark()
        assert second != first
        assert reader.mark() == second


def test_search_finds_words_in_diffs_and_reasons_best_first(journal: Journal) -> None:
    journal.append(
        ev.AttemptScored(1, 0, None, "d", "Pack K", "h", score(), diff="+float packed_keys[64];"),
        ev.Noted("packed keys were slower here: packed, packed"),
    )
    with Reader(journal.path) as reader:
        assert {hit.kind for hit in reader.search("packed")} == {"attempt", "note"}
        assert [hit.kind for hit in reader.search("slower pack")] == ["note"]
        assert reader.search('"; DROP TABLE events') == []
        assert reader.search("") == []


def test_spend_adds_up_and_unpriced_calls_are_counted_apart(journal: Journal) -> None:
    journal.append(ev.Spent("turn", 10, 5, 100, 0, 0.25), ev.Spent("review", 1, 1, 0, 0, None))
    with Reader(journal.path) as reader:
        spend = reader.spend()
        assert (spend.usd, spend.input_tokens, spend.calls, spend.unpriced_calls) == (0.25, 11, 2, 1)


def test_a_command_keeps_its_life(journal: Journal) -> None:
    number = commands.send(journal.path, "direct", {"text": "  try packing K  "}, person="ada", issued_seq=4)
    journal.append(ev.CommandChanged(number, "direct", "seen", "ada"))
    journal.answer(ev.CommandChanged(number, "direct", "refused", "ada", "the run is stopping"))
    with Reader(journal.path) as reader:
        (command,) = reader.commands()
        assert command.arguments == {"text": "try packing K"}
        assert (command.state, command.reason, command.issued_seq) == ("refused", "the run is stopping", 4)


@pytest.mark.parametrize("text", ["", " \n ", "x" * 1_000_000])
def test_an_empty_or_huge_direction_is_refused_before_it_is_sent(journal: Journal, text: str) -> None:
    with pytest.raises(UsageError):
        commands.send(journal.path, "direct", {"text": text})
    with Reader(journal.path) as reader:
        assert reader.commands() == []


def test_a_journal_of_a_newer_schema_is_refused_by_name(journal: Journal) -> None:
    journal.set_meta("schema", str(schema.VERSION + 1))
    with pytest.raises(JournalNewer, match="upgrade avo-tui"):
        Reader(journal.path)


def test_what_is_no_journal_is_refused_in_one_line(tmp_path: Path) -> None:
    for name, content in (("text.db", b"hello, not a database" * 100), ("empty.db", b"")):
        path = tmp_path / name
        path.write_bytes(content)
        with pytest.raises(JournalError) as caught:
            Reader(path)
        assert "\n" not in str(caught.value)
    with pytest.raises(JournalError, match="does not exist"):
        Reader(tmp_path / "absent.db")


def test_a_new_journal_never_replaces_an_old_one(journal: Journal) -> None:
    with pytest.raises(JournalError, match="exists already"):
        Journal.create(journal.path, "again")
