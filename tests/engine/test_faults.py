"""Full and read-only disks, damaged files, moved clocks, stopped processes, two people: nothing is lost, and one clear
line says what is wrong."""

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from pathlib import Path

import pytest
from invariants import wrong_with

from engine import archive
from engine.lineage import Lineage
from engine.record import commands
from engine.record import events as ev
from engine.record.config import Housekeeping, Limits
from engine.record.run import RunFolder

HERE = Path(__file__).parent
CLIMB = [["climb"], ["sleep", 0.05]]
BLIND = Housekeeping(free_warn_mb=0.0, free_pause_mb=0.0)


def last_line(run):
    lines = [line for line in run.log().splitlines() if line.strip()]
    return lines[-1] if lines else ""


def refused_to_start(run):
    """Start an engine that cannot work: its exit code 2 and its one line."""
    done = subprocess.run(
        [sys.executable, "-m", "engine", str(run.folder.path)],
        env=run.environment(), capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert done.returncode == 2, done
    (line,) = done.stderr.strip().splitlines()
    assert line.startswith("avo engine: ")
    return line


def goes_on(run):
    """Another engine goes on from where the run stood, and everything holds."""
    had = run.ask(lambda r: r.counts()[0])
    process = run.start()
    run.until(lambda r: r.counts()[0] > had)
    process.send_signal(signal.SIGTERM)
    assert run.finish(process) == 0, run.log()
    assert wrong_with(run.folder) == []


def worked(run, versions=3):
    """A run whose engine was killed after some versions."""
    process = run.start()
    run.until(lambda r: r.counts()[0] >= versions)
    process.kill()
    process.wait()
    return run


# --- the disk ------------------------------------------------------------------------------


def test_a_disk_that_is_suddenly_full_ends_the_engine_and_nothing_is_lost(new_run, small_disk):
    run = new_run(CLIMB, "again", housekeeping=BLIND, where=small_disk.path)
    process = run.start()
    run.until(lambda r: r.counts()[0] >= 2)
    small_disk.fill()
    assert run.finish(process) == 2
    assert "is the disk full or read-only?" in refused_to_start(run)
    small_disk.empty()
    goes_on(run)


def test_a_read_only_disk_is_named_and_the_run_goes_on_once_it_can_be_written(new_run, small_disk):
    run = worked(new_run(CLIMB, "again", housekeeping=BLIND, where=small_disk.path))
    small_disk.read_only(True)
    assert "Read-only file system; is the disk full or read-only?" in refused_to_start(run)
    small_disk.read_only(False)
    goes_on(run)


# --- damaged files -------------------------------------------------------------------------


def garble(path, at, count):
    path.chmod(0o600)
    with path.open("r+b") as file:
        file.seek(at)
        file.write(os.urandom(count))


def test_a_damaged_git_object_is_named_and_an_archive_brings_the_run_back(new_run, tmp_path):
    run = worked(new_run(CLIMB, "again"))
    archive.pack(run.folder, tmp_path / "run.tar.gz")
    for path in (run.folder.lineage / "objects").rglob("*"):
        if path.is_file():
            garble(path, 8, 16)
    assert "lineage is damaged" in refused_to_start(run)
    shutil.rmtree(run.folder.path)
    archive.unpack(tmp_path / "run.tar.gz", tmp_path, run.folder.name)
    run.script(CLIMB, "again")
    goes_on(run)


@pytest.mark.parametrize("how", ["cut", "garbled", "gone"])
def test_a_torn_write_ahead_log_loses_its_last_facts_and_nothing_before(new_run, how):
    """Only what was not checkpointed can go; numbers that git has seen are not used again."""
    run = worked(new_run(CLIMB, "again"))
    log = run.folder.path / "journal.db-wal"
    before = {c.version: c.commit for c in Lineage(run.folder.lineage).versions()}
    size = log.stat().st_size
    assert size > 0, "an engine that was killed leaves its log"
    if how == "cut":
        os.truncate(log, size * 2 // 3)
    elif how == "garbled":
        garble(log, size * 2 // 3, size // 3)
    else:
        garble(log, 0, 32)
    process = run.start()
    had = max(before)
    run.until(lambda r: (r.head() or 0) > had)
    process.send_signal(signal.SIGTERM)
    assert run.finish(process) == 0, run.log()
    after = {c.version: c.commit for c in Lineage(run.folder.lineage).versions()}
    assert before.items() <= after.items()
    known = {v.version: v.commit for v in run.ask(lambda r: r.versions())}
    assert known == after
    assert run.ask(lambda r: r.head()) == Lineage(run.folder.lineage).head()


def test_a_damaged_journal_is_named_in_one_line(new_run):
    run = new_run(CLIMB, CLIMB)
    assert run.finish() == 0
    run.folder.journal.write_bytes(run.folder.journal.read_bytes()[:4096] + os.urandom(40_960))
    line = refused_to_start(run)
    assert "journal.db" in line and "avo verify" in line


def test_a_workspace_that_is_deleted_under_a_living_engine_comes_back(new_run):
    run = new_run(CLIMB, "again")
    process = run.start()
    run.until(lambda r: r.counts()[0] >= 2)
    shutil.rmtree(run.folder.workspace)
    assert run.until(lambda r: [e.title for e in r.events(kinds=("warning",)) if "workspace/ was gone" in e.title])
    had = run.ask(lambda r: r.counts()[0])
    run.until(lambda r: r.counts()[0] > had)
    assert process.poll() is None


@pytest.mark.parametrize("paused", [False, True])
def test_an_engine_whose_folder_was_replaced_ends_and_leaves_the_new_one_alone(new_run, tmp_path, paused):
    run = new_run(CLIMB, "again")
    process = run.start()
    run.until(lambda r: r.counts()[0] >= 2)
    if paused:
        assert run.answered(run.send("pause"))[0] == "applied"
    shutil.copytree(run.folder.path, tmp_path / "copy", ignore=shutil.ignore_patterns("*.lock"))
    run.folder.path.rename(tmp_path / "away")
    (tmp_path / "copy").rename(run.folder.path)
    assert process.wait(60) == 2
    assert "was removed or replaced under its engine" in (tmp_path / "away" / "engine.log").read_text()


# --- clocks --------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def clock(tmp_path_factory):
    """A library that moves the wall clock of the processes that it is loaded into."""
    if not sys.platform.startswith("linux") or shutil.which("cc") is None:
        pytest.skip("needs a C compiler and LD_PRELOAD")
    library = tmp_path_factory.mktemp("clock") / "clock.so"
    subprocess.run(["cc", "-shared", "-fPIC", "-O1", "-o", library, HERE / "clock.c", "-ldl"], check=True)
    return library


@pytest.mark.parametrize("jump_s", [86_400, -86_400])
def test_a_clock_that_jumps_costs_no_time_and_changes_no_order(new_run, clock, jump_s, tmp_path):
    offset = tmp_path / "offset"
    offset.write_text("0")
    run = new_run(CLIMB, "again", limits=Limits(minutes=30))
    process = run.start(LD_PRELOAD=str(clock), CLOCK_OFFSET=str(offset))
    run.until(lambda r: r.counts()[0] >= 2)
    begun, told = time.monotonic(), run.ask(lambda r: float(r.meta("elapsed_s")))
    seq = run.ask(lambda r: r.last_seq())
    offset.write_text(str(jump_s))
    run.until(lambda r: any(abs(e.at - time.time() - jump_s) < 60 for e in r.events(seq)))
    run.until(lambda r: r.counts()[0] >= 4 and float(r.meta("elapsed_s")) > told)
    after = run.ask(lambda r: float(r.meta("elapsed_s")))
    assert told < after < told + (time.monotonic() - begun) + 2
    assert process.poll() is None and run.ask(run.state) == "running"
    number = run.send("stop")
    assert run.answered(number)[0] == "applied"
    assert run.finish(process) == 0
    assert wrong_with(run.folder) == []


def test_an_engine_that_is_stopped_for_a_while_does_not_pay_for_it(new_run):
    """SIGSTOP, as a frozen container or a debugger does it. A sleeping machine's monotonic clock stands anyway."""
    run = new_run([["sleep", 0.2]], "again", limits=Limits(minutes=0.1))
    process = run.start()
    run.until(lambda r: float(r.meta("elapsed_s") or 0.0) > 0.5)
    os.kill(process.pid, signal.SIGSTOP)
    told = run.ask(lambda r: float(r.meta("elapsed_s")))
    time.sleep(7.0)  # longer than the whole limit: the stop itself is the test's subject
    os.kill(process.pid, signal.SIGCONT)
    run.until(lambda r: float(r.meta("elapsed_s")) > told + 0.5)
    assert run.ask(lambda r: float(r.meta("elapsed_s"))) < told + 4
    assert process.poll() is None
    warned = [e.title for e in run.ask(lambda r: r.events(kinds=("warning",)))]
    assert any("was stopped from outside for 7 s; not counted" in title for title in warned), warned


# --- people --------------------------------------------------------------------------------


def test_two_people_who_steer_at_once_are_each_answered_once(new_run):
    run = new_run(CLIMB, "again")
    process = run.start()
    run.until(lambda r: r.counts()[0] >= 4)

    def steer(person):
        for number in range(15):
            verb = ("rollback", "undo", "direct", "limits", "acknowledge")[number % 5]
            arguments = {
                "rollback": {"version": 1},
                "direct": {"text": f"{person} {number}"},
                "limits": {"versions": 1000 + number},
                "acknowledge": {"alert": 1},
            }
            seq = run.ask(lambda r: r.last_seq())
            commands.send(run.folder.journal, verb, arguments.get(verb, {}), person=person, issued_seq=seq)

    people = [threading.Thread(target=steer, args=(name,)) for name in ("ada", "lena")]
    for person in people:
        person.start()
    for person in people:
        person.join()
    run.until(lambda r: not r.commands(states=("sent", "seen")))
    process.send_signal(signal.SIGTERM)
    assert run.finish(process) == 0, run.log()
    sent = run.ask(lambda r: r.commands())
    assert Counter(c.person for c in sent) == {"ada": 15, "lena": 15}
    assert {c.state for c in sent} == {"applied", "refused"}
    assert all(c.reason for c in sent if c.state == "refused")
    given = {c.arguments["text"] for c in sent if c.verb == "direct"}
    told = [e.event() for e in run.ask(lambda r: r.events(kinds=("direction",)))]
    heard = Counter(d.why for d in told if isinstance(d, ev.DirectionChanged) and d.state == "sent")
    assert heard == dict.fromkeys(given, 1)
    assert wrong_with(run.folder) == []


def test_a_direction_is_words_and_never_a_command(new_run, tmp_path):
    """What a person types reaches the operator as it was typed; no shell sees it."""
    run = new_run([["inbox"], ["sleep", 0.05]], "again")
    process = run.start()
    run.until(lambda r: run.state(r) == "running")
    text = f"$(touch {tmp_path}/a); `touch {tmp_path}/b` | tee {tmp_path}/c; ' OR 1=1 --\\n${{HOME}}"
    run.send("direct", text=text)
    assert run.until(lambda r: [e for e in r.events(kinds=("said",)) if e.event().text == f"person: {text}"])
    assert not [name for name in "abc" if (tmp_path / name).exists()]
    assert listening(process.pid) == []


def listening(pid):
    """Addresses that a process or its children listen on."""
    inodes = set()
    family = [pid, *(int(p) for p in Path(f"/proc/{pid}/task/{pid}/children").read_text().split())]
    for member in family:
        for link in Path(f"/proc/{member}/fd").iterdir():
            with contextlib.suppress(OSError):
                if (name := str(link.readlink())).startswith("socket:["):
                    inodes.add(name[8:-1])
    found = []
    for table, listens, column in (("tcp", "0A", 9), ("tcp6", "0A", 9), ("unix", "00010000", 6)):
        for line in Path(f"/proc/{pid}/net/{table}").read_text().splitlines()[1:]:
            fields = line.split()
            if fields[3] == listens and fields[column] in inodes:
                found.append(f"{table} {fields[1]} {fields[-1]}")
    return found


def test_a_run_folder_and_all_that_lies_in_it_is_its_owners(new_run, tmp_path):
    from engine.record.run import create_run

    made = create_run(tmp_path / "runs", "tiny")
    assert oct(made.path.stat().st_mode & 0o777) == "0o700"
    run = new_run(CLIMB)
    assert run.finish() == 0
    for path in (run.folder.path, made.path):
        assert RunFolder(path).path.stat().st_mode & 0o077 == 0
