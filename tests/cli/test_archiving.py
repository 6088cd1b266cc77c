"""A run goes into one file and comes back whole; what was damaged, edited or points elsewhere does not."""

import io
import json
import sqlite3
import subprocess
import tarfile
from pathlib import Path

import pytest

from engine import archive
from engine.data import kernels_directory
from engine.lineage import Lineage
from engine.record.errors import Refused
from engine.record.reader import Reader
from engine.record.run import RunFolder


def laid_out(past, tmp_path, **more) -> Path:
    return archive.lay_out(RunFolder(past.runs / "climb"), tmp_path / "laid", **more).path


def test_an_archived_run_comes_back_with_every_version_event_and_attempt(past, tmp_path):
    file = tmp_path / "climb.tar.gz"
    assert past("archive", "climb", "-o", str(file), "--json").json["bytes"] == file.stat().st_size
    past("archive", "climb", "-o", str(file)).refused(1, "exists already")
    made = past("restore", str(file), "--name", "again", "--runs", str(tmp_path / "runs"), "--json").json
    again, before = RunFolder(tmp_path / "runs" / "again"), RunFolder(past.runs / "climb")
    assert made["directory"] == str(again.path)
    with Reader(before.journal) as old, Reader(again.journal) as new:
        assert [v.commit for v in new.versions()] == [v.commit for v in old.versions()]
        assert new.last_seq() == old.last_seq()
        assert new.counts() == old.counts()
    for version in range(5):
        assert Lineage(again.lineage).files(version) == Lineage(before.lineage).files(version)
    assert past("export", str(again.path), "best", "-o", str(tmp_path / "best")).code == 0


def test_a_restored_run_is_a_run_like_any_other(past, tmp_path):
    file = tmp_path / "climb.tar.gz"
    assert past("archive", "climb", "-o", str(file)).code == 0
    past("restore", str(file)).refused(1, "exists already", "--name")
    assert past("restore", str(file), "--name", "twin").code == 0
    status = past("status", "twin", "--json").json
    assert (status["state"], status["versions"]) == ("finished", 5)
    assert (past.runs / "twin" / "artifacts").is_dir()
    assert oct((past.runs / "twin").stat().st_mode & 0o777) == "0o700"


def test_the_machine_is_forgotten_and_so_is_a_path_that_one_names(past, tmp_path):
    where = str(past.home)
    page = past.runs / "climb" / "knowledge" / "lesson-before.md"
    page.parent.mkdir()
    page.write_text(f'source = "{where}/runs/before"\n')
    try:
        target = laid_out(past, tmp_path, forget=(f"{where}/",))
    finally:
        page.unlink()
        page.parent.rmdir()
    assert (target / "knowledge" / page.name).read_text() == 'source = "runs/before"\n'
    with sqlite3.connect(target / "journal.db") as db:
        assert db.execute("SELECT pid, host, boot FROM engine").fetchall() == [(0, "", "")]
        assert not db.execute("SELECT 1 FROM events WHERE instr(data, ?)", (where,)).fetchall()
    restored = RunFolder(archive.unpack(target, tmp_path / "runs").path)
    log = subprocess.run(["git", "-C", restored.lineage, "log", "--all"], capture_output=True, text=True, check=True)
    assert where not in log.stdout + restored.config.read_text()
    with Reader(restored.journal) as reader:
        found = {c.version: c.commit for c in Lineage(restored.lineage).versions()}
        assert {v.version: v.commit for v in reader.versions()} == found


@pytest.mark.parametrize("name", ["journal.db", "lineage.bundle", "config.toml"])
def test_an_edited_file_is_refused_by_name(past, tmp_path, name):
    target = laid_out(past, tmp_path)
    with (target / name).open("ab") as file:
        file.write(b"\n")
    with pytest.raises(Refused, match=f"damaged or edited: {name}"):
        archive.unpack(target, tmp_path / "runs")
    assert not list((tmp_path / "runs").glob("*"))


def test_a_file_cut_short_and_one_that_is_no_archive_are_refused(past, tmp_path):
    file = tmp_path / "climb.tar.gz"
    assert past("archive", "climb", "-o", str(file)).code == 0
    short, other = tmp_path / "short.tar.gz", tmp_path / "other.tar.gz"
    short.write_bytes(file.read_bytes()[:2000])
    other.write_bytes(b"not an archive at all")
    for bad in (short, other, tmp_path / "missing.tar.gz", tmp_path):
        said = past("restore", str(bad), "--name", "bad")
        said.refused(1, str(bad))
    assert not (past.runs / "bad").exists()


def test_an_archive_that_names_a_file_outside_the_run_writes_nothing(past, tmp_path):
    target = laid_out(past, tmp_path)
    manifest = json.loads((target / "manifest.json").read_text())
    manifest["files"]["../escaped"] = "0" * 64
    file = tmp_path / "bad.tar.gz"
    with tarfile.open(file, "w:gz") as tar:
        for name, data in {"manifest.json": json.dumps(manifest).encode(), "../escaped": b"x"}.items():
            member = tarfile.TarInfo(f"climb/{name}")
            member.size = len(data)
            tar.addfile(member, io.BytesIO(data))
    with pytest.raises(Refused, match="outside the run"):
        archive.unpack(file, tmp_path / "runs")
    assert not (tmp_path / "escaped").exists()


LINEAGES = sorted(kernels_directory().glob("*/lineages/*/manifest.json"))


@pytest.mark.parametrize("manifest", LINEAGES, ids=lambda p: "-".join(p.parts[-4::2]))
def test_a_shipped_lineage_is_whole(manifest, tmp_path):
    """Every version that the journal holds is in git, with the score that the journal gives it."""
    folder = RunFolder(archive.unpack(manifest.parent, tmp_path).path)
    with Reader(folder.journal) as reader:
        versions, attempts = reader.versions(), reader.counts()[1]
    kept = {c.version: c for c in Lineage(folder.lineage).versions()}
    assert {v.version: v.commit for v in versions} == {n: c.commit for n, c in kept.items()}
    assert all(kept[v.version].score == v.score for v in versions)
    assert attempts >= len(versions) >= 1
    assert None not in [v.score.geomean_tflops for v in versions]


@pytest.mark.parametrize("manifest", LINEAGES, ids=lambda p: "-".join(p.parts[-4::2]))
def test_a_restored_run_is_archived_again_with_every_hash(manifest, tmp_path):
    folder = RunFolder(archive.unpack(manifest.parent, tmp_path).path)
    kept = (folder.artifacts / "SHA256SUMS").read_text()
    again = archive.lay_out(folder, tmp_path / "again").path
    assert kept
    assert (again / "artifacts" / "SHA256SUMS").read_text() == kept


def test_the_shipped_multi_head_lineage_is_long_and_climbs(tmp_path):
    folder = RunFolder(archive.unpack(kernels_directory() / "mha_cuda" / "lineages" / "h200-1122", tmp_path).path)
    with Reader(folder.journal) as reader:
        figures = [v.geomean_tflops for v in reader.versions()]
    assert len(figures) >= 15
    assert figures[-1] > 4 * figures[0]
