"""A watchdog starts a crashed engine again, waits longer each time, and calls the person when that does not help."""

import contextlib
import os
import signal
import subprocess
import sys
import time

import pytest
from invariants import processes_of, wrong_with

from engine.record import events as ev

CLIMB = [["climb"], ["sleep", 0.1]]
QUICK = ("--first-s", "0.1")


@pytest.fixture
def watch(new_run):
    """Start watchdogs; they are killed at the end."""
    started = []

    def start(run, *options):
        process = subprocess.Popen(
            [sys.executable, "-m", "engine.watch", str(run.folder.path), *options],
            env=run.environment(), stdin=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip
        started.append((run, process))
        return process

    yield start
    for run, process in started:
        process.kill()
        process.wait()
        process.stderr.close()
        for pid in processes_of(run.folder.path):
            with contextlib.suppress(ProcessLookupError):  # it ended just now
                os.kill(pid, signal.SIGKILL)


def living(run, but=0):
    """The pid of the engine that beats now, another one than `but`."""
    engine = run.ask(lambda r: r.engine())
    pid = engine.pid if engine else 0
    return pid if pid != but and pid in processes_of(run.folder.path) else 0


def went_on(run, pid, had):
    """Wait for another engine than `pid`, and more versions than `had`."""
    run.until(lambda r: living(run, but=pid) and r.counts()[0] > had)


def test_an_engine_that_is_killed_again_and_again_is_started_again_and_the_run_goes_on(new_run, watch):
    run = new_run(CLIMB, "again")
    process = watch(run, *QUICK, "--crashes", "100")
    pid, had = 0, -1
    for _ in range(4):
        went_on(run, pid, had)
        pid, had = living(run), run.ask(lambda r: r.counts()[0])
        os.kill(pid, signal.SIGKILL)
    went_on(run, pid, had)
    assert process.poll() is None
    run.send("stop")
    assert process.wait(30) == 0
    said = process.stderr.read()
    assert "was ended by signal 9; it is started again in" in said
    assert said.strip().splitlines()[-1].endswith("has ended: stopped by ada")
    assert wrong_with(run.folder) == []


def test_an_engine_that_crashes_in_a_loop_is_left_alone_with_an_alert_that_says_why(new_run, watch):
    run = new_run(CLIMB, "again")
    first = run.start()
    run.until(lambda r: r.counts()[0] >= 1)
    first.kill()
    first.wait()
    lineage = run.folder.lineage.rename(run.folder.path / "elsewhere")
    process = watch(run, *QUICK, "--crashes", "3", "--within-s", "60")
    assert process.wait(60) == 1
    said = process.stderr.read()
    assert "3 times within 60 s; it is not started again" in said
    alert = run.ask(lambda r: r.alerts(open_only=True))[0]
    assert (alert.severity, alert.what) == ("critical", "engine")
    assert "crashed 3 times within 60 s" in alert.name
    assert "lineage is missing; restore it from a backup" in alert.evidence
    lineage.rename(run.folder.lineage)


def test_each_start_waits_twice_as_long(new_run, watch):
    run = new_run(CLIMB, "again")
    run.folder.config.write_text("problem = [")
    run.folder.journal.unlink(missing_ok=True)
    process = watch(run, "--first-s", "0.2", "--crashes", "4")
    assert process.wait(60) == 1
    waits = [line.rsplit(" ", 2)[1] for line in process.stderr.read().splitlines() if "again in" in line]
    assert waits == ["0.2", "0.4", "0.8"]


def test_a_second_watchdog_and_a_second_engine_are_refused_by_pid(new_run, watch):
    run = new_run(CLIMB, "again")
    first = watch(run)
    run.until(lambda r: living(run))
    second = watch(run)
    assert second.wait(30) == 1
    assert f"is watched already (pid {first.pid})" in second.stderr.read()
    assert run.finish() == 1
    assert f"already has an engine (pid {living(run)})" in run.log()


def test_told_to_go_it_ends_the_engine_in_order_and_the_run_has_not_ended(new_run, watch):
    """As when the machine shuts down: the next watchdog goes on with the run."""
    run = new_run(CLIMB, "again")
    process = watch(run)
    run.until(lambda r: r.counts()[0] >= 1)
    pid = living(run)
    process.terminate()
    assert process.wait(60) == 0
    assert pid not in processes_of(run.folder.path)
    states = run.ask(lambda r: [e.event() for e in r.events(kinds=("state",))])
    assert isinstance(states[-1], ev.StateChanged) and states[-1].reason == "stopped by SIGTERM"
    had = run.ask(lambda r: r.counts()[0])
    again = watch(run)
    run.until(lambda r: r.counts()[0] > had)
    assert again.poll() is None


def test_a_dead_watchdog_leaves_the_engine_alone_and_the_next_one_takes_it_up(new_run, watch):
    run = new_run(CLIMB, "again")
    first = watch(run)
    pid = run.until(lambda r: living(run))
    first.kill()
    first.wait()
    second = watch(run, *QUICK)
    time.sleep(1.0)  # long enough for a wrong second start
    assert living(run) == pid
    os.kill(pid, signal.SIGKILL)
    run.until(lambda r: living(run, but=pid))
    assert second.poll() is None


def test_a_run_that_has_ended_is_not_started_again(new_run, watch):
    run = new_run([["climb"]])
    assert run.finish() == 0
    process = watch(run)
    assert process.wait(30) == 0
    assert "has ended: nothing left to try" in process.stderr.read()
