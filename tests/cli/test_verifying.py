"""`avo verify` finds each kind of damage that is planted in a copy of a real run, and names it with what to do."""

import shutil
import sqlite3
import subprocess
import tarfile
from pathlib import Path

import pytest
from tiny import until

from engine.lineage import Lineage
from engine.record.liveness import identity
from engine.record.reader import Reader
from engine.record.run import RunFolder
from engine.verify import verify_run


def versions_of(run: RunFolder) -> int:
    with Reader(run.journal) as reader:
        return reader.counts()[0]


def sql(run: RunFolder, text: str) -> None:
    with sqlite3.connect(run.journal) as db:
        db.execute(text)
    db.close()


def largest_object(run: RunFolder) -> Path:
    return max((p for p in (run.lineage / "objects").rglob("*") if p.is_file()), key=lambda p: p.stat().st_size)


def flip(path: Path, at: int, count: int = 64) -> None:
    """Turn bytes of a file, whatever protects it."""
    path.chmod(0o600)
    data = bytearray(path.read_bytes())
    for index in range(at, min(at + count, len(data))):
        data[index] ^= 0xFF
    path.write_bytes(bytes(data))


def log_of(run: RunFolder, attempt: int) -> Path:
    with Reader(run.journal) as reader:
        found = reader.attempt(attempt)
    assert found is not None
    return run.path / found.log


def candidate(run: RunFolder) -> Path:
    return next(p for p in sorted((run.artifacts / "candidates").iterdir()) if p.is_dir()) / "attention.cpp"


def git(run: RunFolder, *words: str) -> None:
    subprocess.run(["git", "--git-dir", run.lineage, *words], check=True, capture_output=True)


def unjournaled(run: RunFolder) -> None:
    """A version that git has and the journal does not."""
    lineage = Lineage(run.lineage)
    lineage.commit(lineage.files(4), version=5, parent=4, score=lineage.score(4), message="nobody's")
    lineage.move_head(4)


def other_sources(run: RunFolder) -> None:
    sql(run, "UPDATE attempts SET source_hash = 'f' WHERE attempt = (SELECT attempt FROM versions WHERE version = 2)")
    sql(run, "UPDATE events SET data = json_set(data, '$.source_hash', 'f') WHERE kind = 'attempt'"
             " AND json_extract(data, '$.attempt') = (SELECT attempt FROM versions WHERE version = 2)")  # fmt: skip


DAMAGES = {
    "a garbled page": (lambda r: flip(r.journal, 3 * 4096, 512), "journal: ", "avo restore"),
    "a journal that is none": (lambda r: r.journal.write_bytes(b"nothing" * 999), "journal: ", "avo restore"),
    "a lost event": (lambda r: sql(r, "DELETE FROM events WHERE seq = 7"), "journal: 1 of", "events are missing"),
    "an unreadable event": (
        lambda r: sql(r, "UPDATE events SET data = '{' WHERE seq = 9"),
        "journal: 1 events cannot be read",
    ),
    "an edited version": (
        lambda r: sql(r, "UPDATE versions SET attempt = 99 WHERE version = 3"),
        "journal: version v3 is not the one that its event tells",
    ),
    "a lost attempt": (
        lambda r: sql(r, "DELETE FROM attempts WHERE attempt = 2"),
        "journal: attempt a2 is not the one that its event tells",
    ),
    "a changed spend": (lambda r: sql(r, "UPDATE spend SET calls = 5"), "journal: the spend is not the sum"),
    "a changed tally": (
        lambda r: sql(r, "UPDATE tally SET events = 5 WHERE kind = 'gate'"),
        "journal: the tally is not",
    ),
    "a lost direction": (
        lambda r: sql(r, "DELETE FROM direction_changes WHERE seq = (SELECT max(seq) FROM direction_changes)"),
        "journal: the history of directions is not what its events tell (1 row)",
    ),
    "a made-up mark": (
        lambda r: sql(r, "INSERT INTO spend_marks VALUES (3, 1.0, 1, 1, 1, 1, 200, 0)"),
        "journal: the history of what was spent is not",
    ),
    "a moved head": (
        lambda r: sql(r, "UPDATE meta SET value = '1' WHERE key = 'head'"),
        "journal: the head is v1, the last commit or rollback left it at v4",
    ),
    "another score": (
        lambda r: sql(r, "UPDATE versions SET score = json_set(score, '$.device', 'another') WHERE version = 1"),
        "lineage: score.json of v1 is not the journal's score",
    ),
    "other sources": (other_sources, "lineage: the sources of v2 are not those that were judged as a"),
    "a damaged object": (lambda r: flip(largest_object(r), 10), "lineage: git fsck: ", "avo restore"),
    "a lost object": (lambda r: largest_object(r).unlink(), "lineage: git fsck: missing"),
    "a lost version": (lambda r: git(r, "update-ref", "-d", "refs/avo/v2"), "lineage: git lacks v2 ("),
    "another commit": (
        lambda r: git(r, "update-ref", "refs/avo/v2", "refs/avo/v1"),
        "lineage: v2 is ",
        "in the journal",
    ),
    "a version more": (unjournaled, "lineage: git has v5, the journal does not", "avo resume"),
    "git's head elsewhere": (
        lambda r: git(r, "update-ref", "refs/heads/main", "refs/avo/v1"),
        "lineage: git's head is v1, the journal's v4",
        "avo resume",
    ),
    "a lost lineage": (lambda r: shutil.rmtree(r.lineage), "lineage: ", "is missing"),
    "a changed candidate": (
        lambda r: candidate(r).write_text("// other\n"),
        "artifacts: candidates/",
        "is not what its name says",
    ),
    "a lost log": (lambda r: log_of(r, 1).unlink(), "artifacts: artifacts/attempts/a1.log", "is missing"),
    "a changed log": (lambda r: log_of(r, 1).write_text("other"), "artifacts: attempts/a1.log was changed"),
    "an open folder": (lambda r: r.path.chmod(0o755), "folder: ", "chmod 700"),
    "a lost workspace": (lambda r: shutil.rmtree(r.workspace), "folder: workspace/ is missing", "avo resume"),
    "a broken configuration": (lambda r: r.config.write_text("problem = ["), "config.toml: "),
    "a lost problem": (
        lambda r: r.config.write_text(r.config.read_text().replace("/tiny", "/gone")),
        "config.toml: the problem's folder",
    ),
}


@pytest.fixture
def copy(past, tmp_path):
    """A copy of the finished run, to be damaged."""
    shutil.copytree(past.runs / "climb", tmp_path / "climb")
    return RunFolder(tmp_path / "climb")


def test_a_whole_run_is_found_whole(past, copy):
    said = past("verify", str(copy.path))
    assert said.code == 0, said
    assert said.out.endswith("all is well\n")
    found = past("verify", "climb", "--json").json
    assert found["ok"] and found["findings"] == []
    assert found["checked"]["versions"] == 5
    assert found["checked"]["events"] > 20
    assert found["checked"]["artifacts"] > 5


@pytest.mark.parametrize("name", DAMAGES)
def test_damage_is_named_with_what_to_do(copy, name):
    plant, *words = DAMAGES[name]
    plant(copy)
    found = verify_run(copy).findings
    lines = [str(finding) for finding in found]
    assert any(all(word in line for word in words) for line in lines), lines
    assert all(f.mend and "\n" not in f.what for f in found)


def test_each_wrong_thing_is_one_line_and_the_exit_code_says_so(past, copy):
    copy.path.chmod(0o755)
    shutil.rmtree(copy.workspace)
    said = past("verify", str(copy.path))
    assert said.code == 1
    folder, workspace, last = said.out.splitlines()
    assert folder.startswith("folder: ") and "chmod 700" in folder
    assert "workspace/ is missing" in workspace and last.endswith("; 2 wrong")
    found = past("verify", str(copy.path), "--json")
    assert found.code == 1 and len(found.json["findings"]) == 2 and not found.json["ok"]


def test_an_archive_is_verified_without_restoring_it(past, tmp_path):
    file = tmp_path / "climb.tar.gz"
    assert past("archive", "climb", "-o", str(file)).code == 0
    said = past("verify", str(file))
    assert said.code == 0, said
    with tarfile.open(file) as tar:
        tar.extractall(tmp_path / "open", filter="data")
    (tmp_path / "open" / "climb" / "config.toml").write_text("other")
    (tmp_path / "open" / "climb" / "lineage.bundle").unlink()
    said = past("verify", str(tmp_path / "open" / "climb"))
    assert said.code == 1
    assert "archive: config.toml is not the file that was packed" in said.out
    assert "archive: lineage.bundle is missing" in said.out
    flip(file, file.stat().st_size // 2)
    assert past("verify", str(file)).code == 1


def test_damage_that_was_archived_is_found_in_the_archive(past, copy, tmp_path):
    sql(copy, "DELETE FROM events WHERE seq = 7")
    file = tmp_path / "bad.tar.gz"
    assert past("archive", str(copy.path), "-o", str(file)).code == 0
    assert "events are missing" in past("verify", str(file)).out


def test_a_damaged_lineage_is_not_archived_and_verify_is_named(past, copy, tmp_path):
    largest_object(copy).unlink()
    past("archive", str(copy.path), "-o", str(tmp_path / "no.avo")).refused(2, "lineage is damaged", "avo verify")
    assert not (tmp_path / "no.avo").exists()


def test_a_living_run_can_be_verified_and_archived_and_its_archive_restored(avo, tmp_path):
    """The engine goes on meanwhile; what is restored is one moment of it, and whole."""
    avo.env["CLIMBER_STEPS"] = "1000"
    run = avo.start("busy")
    until(lambda: versions_of(run) >= 2)
    file = tmp_path / "busy.tar.gz"
    for number in range(2):
        assert verify_run(run).findings == ()
        file.unlink(missing_ok=True)
        before = versions_of(run)
        assert avo("archive", "busy", "-o", str(file)).code == 0
        assert avo("verify", str(file)).out.endswith("all is well\n")
        restored = avo("restore", str(file), "--name", f"moment{number}", "--json").json
        there = RunFolder(Path(restored["directory"]))
        assert verify_run(there).findings == ()
        assert versions_of(there) >= before
    with Reader(run.journal) as reader:
        events = reader.last_seq()
    until(lambda: _last(run) > events)


def _last(run: RunFolder) -> int:
    with Reader(run.journal) as reader:
        return reader.last_seq()


def test_a_restored_archive_of_a_living_run_goes_on(avo, tmp_path):
    avo.env["CLIMBER_STEPS"] = "1000"
    run = avo.start("busy")
    until(lambda: versions_of(run) >= 2)
    file = tmp_path / "busy.tar.gz"
    assert avo("archive", "busy", "-o", str(file), "--artifacts", "none").code == 0
    assert avo("restore", str(file), "--name", "twin").code == 0
    twin = RunFolder(avo.runs / "twin")
    had = versions_of(twin)
    assert not list(twin.artifacts.iterdir())
    assert avo("resume", "twin").code == 0
    until(lambda: versions_of(twin) > had)


@pytest.mark.parametrize(
    ("choice", "kept"), [("all", {"attempts", "candidates"}), ("logs", {"attempts"}), ("none", set())]
)
def test_artifacts_are_archived_by_choice(past, tmp_path, choice, kept):
    file = tmp_path / "climb.tar.gz"
    assert past("archive", "climb", "-o", str(file), "--artifacts", choice).code == 0
    with tarfile.open(file) as tar:
        names = {n.split("/")[2] for n in tar.getnames() if n.startswith("climb/artifacts/")}
    assert {n for n in names if "." not in n and n != "SHA256SUMS"} == kept
    assert past("verify", str(file)).code == 0, past("verify", str(file))


def test_what_a_living_engine_is_about_to_hash_again_is_no_damage_and_not_in_an_archive(past, copy, tmp_path):
    """A log was written again since; in a run at rest that is a finding, in one that lives it is work."""
    log = log_of(copy, 1)
    log.write_text("written again")
    sql(copy, "UPDATE engine SET state = 'running'")
    assert any("a1.log was changed" in str(f) for f in verify_run(copy).findings)
    me = identity()
    sql(copy, f"UPDATE engine SET pid = {me.pid}, started = {me.started}, boot = '{me.boot}', host = '{me.host}'")
    assert verify_run(copy).findings == ()
    assert past("archive", str(copy.path), "-o", str(tmp_path / "live.tar.gz")).code == 0
    assert past("verify", str(tmp_path / "live.tar.gz")).code == 0
