"""What a run takes of the disk stays within its quotas, what is old is compressed and still read, and room is watched."""

import gzip
import hashlib
import os
import subprocess
import time
from types import SimpleNamespace

import pytest

from avo_tui.model.output import read_log
from engine import housekeeping
from engine.housekeeping import KEPT_CANDIDATES, Housekeeper
from engine.record.config import Housekeeping
from engine.record.run import SUMS, RunFolder
from engine.verify import sums, verify_run

TEXT = "a line of a log that says little\n" * 1000
OLD_S = 7200.0


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.setenv("AVO_CACHE", str(tmp_path / "cache"))
    run = RunFolder(tmp_path / "run")
    for path in (run.workspace, run.artifacts / "attempts", run.artifacts / "candidates", tmp_path / "cache"):
        path.mkdir(parents=True)
    return run


def write(path, text=TEXT, age_s=0.0):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    os.utime(path, (time.time() - age_s,) * 2)
    return path


def size_of(folder):
    return sum(p.stat().st_size for p in folder.rglob("*") if p.is_file())


def test_an_old_log_is_compressed_and_read_as_before(folder):
    name = "artifacts/attempts/a1.log"
    write(folder.path / name, TEXT, OLD_S)
    young = write(folder.artifacts / "attempts" / "a2.log")
    small = write(folder.artifacts / "turn-00001" / "001-shell.log", "done\n", OLD_S)
    before = read_log(folder.artifacts, name)
    done = Housekeeper(folder, Housekeeping()).tidy()
    assert done.compressed == 1
    assert not (folder.path / name).exists()
    assert gzip.decompress((folder.path / f"{name}.gz").read_bytes()) == TEXT.encode()
    assert young.read_text() == TEXT and small.read_text() == "done\n"
    assert read_log(folder.artifacts, name) == before
    assert "a line of a log" in before


def test_every_log_has_its_hash_written_down_once_also_after_it_was_compressed_or_written_again(folder):
    first = write(folder.artifacts / "attempts" / "a1.log", TEXT, 60)
    again = write(folder.artifacts / "profiles" / "p.log", "one", 60)
    keeper = Housekeeper(folder, Housekeeping())
    keeper.tidy()
    assert sums(folder) == {
        "attempts/a1.log": hashlib.sha256(TEXT.encode()).hexdigest(),
        "profiles/p.log": hashlib.sha256(b"one").hexdigest(),
    }
    os.utime(first, (time.time() - OLD_S,) * 2)
    os.utime(folder.artifacts / SUMS, (time.time() - 30,) * 2)
    again.write_text("two")
    keeper.tidy(everything=True)
    Housekeeper(folder, Housekeeping()).tidy()
    assert set(sums(folder)) == {"attempts/a1.log.gz", "profiles/p.log"}
    assert sums(folder)["profiles/p.log"] == hashlib.sha256(b"two").hexdigest()
    assert len((folder.artifacts / SUMS).read_text().splitlines()) == 2
    subprocess.run(["sha256sum", "--quiet", "-c", SUMS], cwd=folder.artifacts, check=True)


def test_over_the_quota_the_oldest_candidates_go_before_the_oldest_logs(folder):
    for number in range(KEPT_CANDIDATES + 20):
        source = write(folder.artifacts / "candidates" / f"c{number:03d}" / "attention.cpp", "x" * 10_000)
        os.utime(source.parent, (1e9 + number,) * 2)
    for number in range(50):
        write(folder.artifacts / "attempts" / f"a{number}.log", "y" * 10_000, 1000 - number)
    done = Housekeeper(folder, Housekeeping(artifacts_mb=1.0)).tidy()
    left = sorted(p.name for p in (folder.artifacts / "candidates").iterdir())
    assert left == [f"c{n:03d}" for n in range(20, KEPT_CANDIDATES + 20)]
    logs = {p.name for p in (folder.artifacts / "attempts").iterdir()}
    assert "a0.log" not in logs and "a49.log" in logs
    assert size_of(folder.artifacts) < 1.0e6
    assert "20 oldest candidates" in done.notes[0]
    assert done.dropped_before is not None
    assert set(sums(folder)) == {f"attempts/{name}" for name in logs}


def test_a_workspace_over_its_quota_loses_its_largest_files_but_no_source(folder):
    write(folder.workspace / "attention.cpp", "s" * 800_000)
    big = write(folder.workspace / "build" / "trace.bin", "b" * 500_000)
    small = write(folder.workspace / "notes.txt", "n")
    done = Housekeeper(folder, Housekeeping(workspace_mb=1.0)).tidy()
    assert (folder.workspace / "attention.cpp").exists() and small.exists() and not big.exists()
    assert "1 largest files that are no sources were removed" in done.notes[0]


def test_the_build_cache_is_bounded_and_young_builds_stay(folder, tmp_path):
    cache = tmp_path / "cache"
    for number in range(10):
        write(cache / f"candidate-{number}.so", "b" * 100_000, OLD_S + 100 - number)
    young = write(cache / "candidate-young.so", "b" * 100_000)
    runner = write(cache / "runner-1", "r" * 900_000, OLD_S)
    (cache / "tmp-dead").mkdir()
    os.utime(cache / "tmp-dead", (time.time() - OLD_S,) * 2)
    Housekeeper(folder, Housekeeping(cache_mb=0.5)).tidy()
    left = {p.name for p in cache.iterdir()}
    assert young.name in left and runner.name in left and "tmp-dead" not in left
    assert "candidate-0.so" not in left and "candidate-9.so" in left
    assert sum(p.stat().st_size for p in cache.glob("candidate-*")) <= 400_000


def test_the_engines_own_log_is_cut_and_its_writer_goes_on(folder):
    with folder.engine_log.open("ab", buffering=0) as log:
        log.write(b"x" * 2_000_000)
        Housekeeper(folder, Housekeeping(log_mb=1.0)).tidy()
        log.write(b"and on\n")
    assert folder.engine_log.read_bytes() == b"and on\n"
    assert len(gzip.decompress((folder.path / "engine.log.1.gz").read_bytes())) == 2_000_000


def test_a_round_ends_after_the_file_that_its_time_ran_out_on_and_the_next_goes_on(folder, monkeypatch):
    """A clock that only files move: each takes a fifth of a round's time, however busy this machine is."""
    for number in range(60):
        write(folder.artifacts / "attempts" / f"a{number}.log", TEXT, OLD_S)
    spent, squeeze = [0.0], housekeeping._squeeze

    def slowly(file):
        spent[0] += housekeeping.BUDGET_S / 5
        return squeeze(file)

    monkeypatch.setattr(housekeeping, "_squeeze", slowly)
    monkeypatch.setattr(housekeeping, "time", SimpleNamespace(time=time.time, monotonic=lambda: spent[0]))
    keeper = Housekeeper(folder, Housekeeping())
    assert keeper.tidy().compressed in (5, 6)
    assert keeper.due() is False
    spent[0] += housekeeping.LATE_S
    assert keeper.due() is True
    while keeper.tidy(everything=True).compressed:
        pass
    assert len(list((folder.artifacts / "attempts").glob("*.gz"))) == 60


def test_a_run_that_ends_has_hashes_of_all_its_logs_and_stays_whole(new_run):
    small = Housekeeping(compress_after_minutes=1e-9)
    run = new_run([["climb"]], [["climb"]], housekeeping=small)
    assert run.finish() == 0, run.log()
    assert len(sums(run.folder)) >= 3
    assert verify_run(run.folder).findings == ()


def test_a_disk_that_fills_raises_an_alert_and_one_that_is_full_pauses_the_run_until_there_is_room(new_run, small_disk):
    """A real file system of 24 MB: the limits are put close to what is free on it."""
    rule = Housekeeping(free_warn_mb=12.0, free_pause_mb=6.0)
    run = new_run([["climb"], ["sleep", 0.2]], "again", housekeeping=rule, where=small_disk.path)
    process = run.start()
    run.until(lambda r: r.counts()[0] >= 2)
    small_disk.fill(leave_mb=9)
    assert run.until(lambda r: [a.severity for a in r.alerts(open_only=True) if a.what == "disk"]) == ["warning"]
    small_disk.fill(leave_mb=4)
    run.until(lambda r: run.state(r) == "paused")
    assert [a.severity for a in run.ask(lambda r: r.alerts(open_only=True))] == ["critical"]
    had = run.ask(lambda r: r.counts()[0])
    small_disk.empty()
    run.until(lambda r: run.state(r) == "running" and r.counts()[0] > had)
    assert run.ask(lambda r: r.alerts(open_only=True)) == []
    assert process.poll() is None


def test_a_run_that_a_person_paused_stays_paused_when_there_is_room_again(new_run, small_disk):
    rule = Housekeeping(free_warn_mb=12.0, free_pause_mb=8.0)
    run = new_run([["climb"], ["sleep", 0.1]], "again", housekeeping=rule, where=small_disk.path)
    run.start()
    run.until(lambda r: run.state(r) == "running")
    assert run.answered(run.send("pause"))[0] == "applied"
    small_disk.fill(leave_mb=6)
    run.until(lambda r: of_the_disk(r) == ["critical"])
    small_disk.empty()
    run.until(lambda r: not of_the_disk(r))
    assert run.ask(run.state) == "paused"
    assert run.answered(run.send("resume"))[0] == "applied"
    small_disk.fill(leave_mb=6)
    run.until(lambda r: run.state(r) == "paused")
    assert run.answered(run.send("resume"))[0] == "applied"  # too early: it pauses again, and goes on by itself
    run.until(lambda r: len([e for e in r.events(kinds=("state",)) if "nearly full" in e.title]) == 2)
    small_disk.empty()
    run.until(lambda r: run.state(r) == "running" and not of_the_disk(r))


def of_the_disk(reader):
    return [a.severity for a in reader.alerts(open_only=True) if a.what == "disk"]


def test_a_link_put_in_a_folders_place_leads_the_removal_nowhere(folder, tmp_path, monkeypatch):
    outside = write(tmp_path / "outside" / "passwd", "mine")
    big = write(folder.workspace / "d" / "passwd", "b" * 2_000_000)
    walk = housekeeping._walk

    def swapped(place):
        yield from list(walk(place))
        if big.exists():
            big.parent.rename(folder.workspace / "e")
            big.parent.symlink_to(outside.parent)

    monkeypatch.setattr(housekeeping, "_walk", swapped)
    Housekeeper(folder, Housekeeping(workspace_mb=1.0)).tidy()
    assert outside.read_text() == "mine"
    assert big.parent.is_symlink()
