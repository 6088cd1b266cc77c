"""Memory across runs: what a run learned becomes a page that the next one finds."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from engine import knowledge, lessons
from engine.data import kernels_directory
from engine.knowledge_add import remove
from engine.record import events as ev
from engine.record.config import RunConfig, save
from engine.record.errors import Refused
from engine.record.journal import Journal
from engine.record.run import RunFolder
from engine.record.scores import ConfigurationScore, Score

SLOW = Score("mha_cpu", True, "ok", "", "a machine of 8 cores", 1.0, (ConfigurationScore("c", True, 1.0),), 1.0)
FAST = replace(SLOW, geomean_tflops=2.5)
WRONG = Score("mha_cpu", False, "check", 'c: relative error 0.2 in "row" 3\nand more', "a machine of 8 cores", 1.0)


def run_with(path: Path, *facts: ev.Event, name: str = "climb") -> RunFolder:
    folder = RunFolder(path / name)
    folder.path.mkdir()
    save(RunConfig("mha_cpu", str(kernels_directory() / "mha_cpu")), folder.config)
    with Journal.create(folder.journal, name) as journal:
        journal.append(
            ev.AttemptScored(0, 0, None, "", "the seed", "h0", SLOW),
            ev.VersionCommitted(0, "a0", None, 0, "improved", "", "the seed", SLOW),
            *facts,
        )
    return folder


CLIMB = (
    ev.AttemptScored(1, 1, 0, "d1", "Tile the keys", "h1", FAST, hypothesis="K stays in cache"),
    ev.GateDecided(1, "improved", "proven faster", 2.5, 2.4, 2.6, 2),
    ev.VersionCommitted(1, "a1", 0, 1, "improved", "d1", "Tile the keys", FAST, 2.5, 2.4, 2.6),
    ev.AttemptScored(2, 2, 1, "d2", "Prefetch", "h2", FAST),
    ev.GateDecided(2, "regressed", "slower", 0.91, 0.9, 0.92, 4),
    ev.AttemptScored(3, 2, 1, "d3", "Skip the maximum", "h3", WRONG, hypothesis="exp never overflows"),
    ev.Noted("L2 holds 512 keys."),
    ev.DirectionChanged("person-1", "Try 64 rows", "person", "declined", "they do not fit"),
    ev.Profiled("h1", "profile", {"machine.cores": 8, "profile.vector_bits": 512}),
)


def test_a_lesson_says_what_paid_what_did_not_and_on_what(tmp_path: Path) -> None:
    path = lessons.write(run_with(tmp_path, *CLIMB), tmp_path / "pages")
    assert path is not None
    (page,) = knowledge.Knowledge((knowledge.Place("person", tmp_path / "pages"),)).pages()
    assert page.lesson and page.id == "lesson-climb" and page.hardware == "a machine of 8 cores"
    assert page.claim == "v1 reached 2.5x the seed; most of it from: Tile the keys"
    text = page.text()
    assert "- 2.500x (2.400 to 2.600): Tile the keys. K stays in cache [v1, a1]" in text
    assert "- 0.910x, regressed: Prefetch [a2]" in text
    assert '- Skip the maximum (exp never overflows): check, c: relative error 0.2 in "row" 3 and more [a3]' in text
    assert "L2 holds 512 keys." in text and "Try 64 rows: declined" in text and "- cores: 8" in text
    assert "vector_bits" not in text


def test_distilling_again_replaces_the_page(tmp_path: Path) -> None:
    run = run_with(tmp_path, *CLIMB)
    first = lessons.write(run, tmp_path / "pages")
    assert first is not None
    text = first.read_text()
    assert lessons.write(run, tmp_path / "pages") == first and first.read_text() == text
    assert len(list((tmp_path / "pages").iterdir())) == 1


def test_a_run_that_tried_nothing_teaches_nothing(tmp_path: Path) -> None:
    run = run_with(tmp_path)
    assert lessons.write(run, tmp_path / "pages") is None and not (tmp_path / "pages").exists()
    with pytest.raises(Refused, match="has tried nothing yet"):
        lessons.learn(run)


def test_a_run_that_begins_from_another_inherits_its_lessons(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    source = run_with(tmp_path, *CLIMB)
    heir = RunFolder(tmp_path / "gqa")
    heir.path.mkdir()
    lessons.bequeath(f"{source.path}@v1", heir)
    found = knowledge.open_for(heir)
    assert found.search("tile keys lesson")[0].page == "lesson-climb"
    found.close()
    assert lessons.bequeath("", heir) is None and lessons.bequeath("/nowhere@v1", heir) is None


def test_what_a_person_changed_in_a_lesson_is_kept_and_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    run = run_with(tmp_path, *CLIMB)
    path = lessons.write(run)
    assert path is not None and not lessons.edited(path)
    path.write_text(path.read_text() + "\n## Mine\nOnly on this machine.\n")
    assert lessons.write(run) is None and "Only on this machine." in path.read_text()
    with pytest.raises(Refused, match="was edited by hand; to have it written anew: avo knowledge remove lesson-climb"):
        lessons.learn(run)


def test_a_lesson_that_was_removed_comes_back_only_when_asked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    run = run_with(tmp_path, *CLIMB)
    path = lessons.write(run)
    assert path is not None
    remove("lesson-climb")
    assert lessons.write(run) is None and not path.exists()
    assert lessons.learn(run) == path and path.exists()
    assert lessons.write(run) == path


def test_the_gain_is_the_gates_and_not_two_single_measurements(tmp_path: Path) -> None:
    lucky = replace(FAST, geomean_tflops=9.9)
    facts = (
        *CLIMB[:3],
        ev.AttemptScored(4, 3, 1, "d4", "Wider", "h4", FAST),
        ev.VersionCommitted(2, "a2", 1, 4, "improved", "d4", "Wider", replace(SLOW, geomean_tflops=2.0), 1.5, 1.4, 1.6),
        ev.VersionCommitted(3, "a3", 2, 4, "matched", "d4", "Same", lucky, 1.0, 0.99, 1.01),
    )
    path = lessons.write(run_with(tmp_path, *facts), tmp_path / "pages")
    assert path is not None and 'claim = "v3 reached 3.75x the seed' in path.read_text()
