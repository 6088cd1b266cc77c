"""The loop, end to end: real engine processes on a tiny problem."""

import contextlib
import json
import os
import signal
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from engine.lineage import Lineage
from engine.record import events as ev
from engine.record.config import Limits
from engine.record.liveness import engine_alive, run_state

CLIMB = [["climb"]]


def facts(run, kind):
    return run.ask(lambda r: [e.event() for e in r.events(kinds=(kind,))])


def test_a_run_commits_what_is_better_and_keeps_what_is_not(new_run):
    run = new_run(CLIMB, CLIMB, CLIMB)
    assert run.finish() == 0, run.log()
    versions = run.ask(lambda r: r.versions())
    attempts = run.ask(lambda r: r.attempts())
    assert [v.version for v in versions] == [0, 1, 2]
    assert [(v.parent, v.direction) for v in versions[1:]] == [(0, "step-1"), (1, "step-3")]
    assert {a.verdict for a in attempts if a.direction == "step-2"} == {None, "incorrect"}
    assert attempts[0].attempt == 0
    assert attempts[0].version == 0
    assert all("+// speed" in run.ask(lambda r, a=a: r.attempt_diff(a.attempt)) for a in attempts[1:])
    assert [c.commit for c in Lineage(run.folder.lineage).versions()] == [v.commit for v in versions]
    assert run.ask(lambda r: r.baselines())["torch_sdpa"].geomean_tflops == 3.0


def test_each_step_of_a_commit_is_journaled_in_its_order(new_run):
    run = new_run(CLIMB)
    run.finish()
    kinds = [e.kind for e in run.ask(lambda r: r.events())]
    first = kinds[: kinds.index("tool_started")]
    assert first == ["run_started", "state", "attempt", "baseline", "version", "step", "direction"]
    assert kinds[kinds.index("gate") :] == [
        "gate", "direction", "version", "step", "tool_finished", "said", "state",
    ]  # fmt: skip
    assert [f.state for f in facts(run, "direction")] == ["pursued", "improved"]


def test_a_finished_run_says_why_and_leaves_no_process(new_run):
    run = new_run(CLIMB)
    run.finish()
    engine = run.ask(lambda r: r.engine())
    assert run_state(engine) == "finished"
    assert not engine_alive(engine)
    assert "the script is at its end" in facts(run, "state")[-1].reason
    assert not (run.folder.artifacts / "scorer.pid").exists()


def test_a_second_engine_is_refused_by_name_and_pid(new_run):
    run = new_run([["sleep", 30]])
    first = run.start()
    run.until(lambda r: r.live().get("activity", (0, ""))[1].startswith("sleep"))
    assert run.finish(run.start()) == 1
    assert f"run {run.folder.name} already has an engine (pid {first.pid})" in run.log()
    assert engine_alive(run.ask(lambda r: r.engine()))


def test_the_heartbeat_goes_on_while_the_scorer_is_busy(new_run):
    run = new_run([["write", "// speed: 2\n// slow: 4"], ["evaluate"]])
    run.start()
    run.until(lambda r: "evaluate" in run.doing(r) or "building" in run.doing(r))
    beats = {run.until(lambda r: r.engine().heartbeat_at) for _ in range(1)}
    run.until(lambda r: beats.add(r.engine().heartbeat_at) or len(beats) >= 3)
    assert run.ask(lambda r: len(r.attempts())) == 1


def test_a_candidate_like_an_earlier_one_is_named_and_the_incumbent_itself_is_refused(new_run):
    run = new_run([["submit"], ["write", "// speed: 0.5"], ["submit"], ["submit"]])
    run.finish()
    said = [f.text for f in facts(run, "said")]
    assert "exactly v0" in said[0]
    assert said[1].startswith("regressed")
    assert "judged before as a1" in said[2]
    assert len(run.ask(lambda r: r.attempts())) == 2


def test_equal_sources_under_another_name_match_and_later_rounds_keep_the_anchor(new_run):
    run = new_run([["write", "// speed: 1.0 again"], ["submit"]], [["write", "// speed: 1.0 anew"], ["submit"]])
    run.finish()
    verdicts = [v.verdict for v in run.ask(lambda r: r.versions())]
    assert set(verdicts[1:]) <= {"matched"}
    rounds = json.loads((run.folder.artifacts / "attempts" / "a2.rounds.json").read_text())
    assert len(rounds["rounds"][0]["latency_us"]) == 1 + len(verdicts[:-1] if len(verdicts) == 3 else verdicts)


def test_limits_end_the_run_with_its_work_committed(new_run):
    run = new_run(CLIMB, "again", limits=Limits(versions=2))
    assert run.finish() == 0
    assert run.ask(lambda r: r.counts()[0]) == 3
    assert facts(run, "state")[-1] == ev.StateChanged("finished", "the limit of 2 versions is reached")


@pytest.mark.parametrize(
    ("after", "versions"),
    [
        ([[["sleep", 600]]], 2),
        ([[["submit"]], [["sleep", 600]]], 2),
        ([[["write", "// speed: 0.5"]], [["sleep", 600]]], 1),
    ],
)
def test_at_a_limit_what_was_measured_faster_is_judged_before_the_end(new_run, after, versions):
    run = new_run([["write", "// speed: 3"], ["evaluate"]], *after, limits=Limits(minutes=0.1))
    assert run.finish() == 0
    assert run.ask(lambda r: r.counts()[0]) == versions
    assert facts(run, "state")[-1].reason == "the limit of 0.1 minutes is reached"


def test_a_limit_of_attempts_or_versions_is_not_passed_by_the_last_candidate(new_run):
    run = new_run([["write", "// speed: 3"], ["evaluate"]], [["sleep", 600]], limits=Limits(attempts=1))
    assert run.finish() == 0
    assert run.ask(lambda r: r.counts()) == (1, 2)


def test_the_time_limit_ends_a_turn_that_hangs(new_run):
    run = new_run([["sleep", 600]], limits=Limits(minutes=0.02))
    assert run.finish() == 0
    assert facts(run, "tool_finished")[-1].text == "interrupted: the time limit is reached"
    assert facts(run, "state")[-1].reason == "the limit of 0.02 minutes is reached"


def test_an_operator_with_a_bug_calls_the_person_after_three_times(new_run):
    run = new_run([["raise"]], "again")
    process = run.start()
    alert = run.until(lambda r: r.alerts(open_only=True))[0]
    assert (alert.what, alert.severity) == ("operator", "critical")
    assert "a bug in the operator" in alert.evidence
    run.until(lambda r: run.state(r) == "paused")
    process.send_signal(signal.SIGTERM)
    assert run.finish(process) == 0


def test_a_run_that_calls_a_person_nobody_hears_still_ends_at_its_limit(new_run):
    run = new_run([["raise"]], "again", limits=Limits(minutes=0.05))
    assert run.finish() == 0
    assert [f.state for f in facts(run, "state")] == ["running", "paused", "finished"]
    assert facts(run, "state")[-1].reason == "the limit of 0.05 minutes is reached"


def test_a_scorer_that_keeps_dying_is_no_attempt_and_calls_the_person(new_run):
    run = new_run([["write", "// die"], ["evaluate"]], "again")
    process = run.start()
    alert = run.until(lambda r: r.alerts(open_only=True))[0]
    assert alert.what == "scorer"
    assert "told to die" in alert.evidence
    assert len(run.ask(lambda r: r.attempts())) == 1
    process.send_signal(signal.SIGTERM)
    assert run.finish(process) == 0


def test_sigterm_ends_at_the_boundary_and_a_second_one_now(new_run):
    run = new_run([["sleep", 600]])
    process = run.start()
    run.until(lambda r: run.doing(r).startswith("sleep"))
    process.send_signal(signal.SIGTERM)
    run.until(lambda r: run.state(r) == "stopping")
    process.send_signal(signal.SIGTERM)
    assert run.finish(process) == 0
    assert facts(run, "state")[-1].reason == "stopped by SIGTERM"


def test_a_seed_that_is_wrong_is_refused_with_its_reason(new_run, tmp_path):
    run = new_run(CLIMB)
    (tmp_path / "problem" / "seed" / "attention.cpp").write_text("// wrong\n")
    assert run.finish() == 1
    assert "the seed of tiny is not correct (check: row 3 differs)" in run.log()
    assert facts(run, "state")[-1].state == "finished"


def test_a_seed_from_another_run_is_its_version(new_run):
    first = new_run(CLIMB)
    first.finish()
    second = new_run([["say", "here"]], from_version=f"{first.folder.path}@v1")
    assert second.finish() == 0, second.log()
    assert Lineage(second.folder.lineage).files(0) == Lineage(first.folder.lineage).files(1)


def test_bad_folders_and_configurations_are_one_line_and_exit_2(new_run, tmp_path):
    run = new_run(CLIMB)
    run.folder.config.write_text("problem = 3\n")
    assert run.finish() == 2
    assert "problem = 3 is not str" in run.log()
    gone = subprocess.run([sys.executable, "-m", "engine", str(tmp_path / "none")], capture_output=True, text=True)
    assert gone.returncode == 2
    assert len(gone.stderr.strip().splitlines()) == 1
    other = new_run(CLIMB, operator="nobody")
    assert other.finish() == 2
    assert "unknown operator 'nobody'" in other.log()


def test_a_disk_that_is_full_ends_the_engine_with_one_line(new_run, tmp_path):
    run = new_run(CLIMB, "again")
    limit = f"import resource, sys, runpy; resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, 200_000)); import signal; signal.signal(signal.SIGXFSZ, signal.SIG_IGN); sys.argv = ['engine', {str(run.folder.path)!r}]; runpy.run_module('engine', run_name='__main__')"
    path = os.pathsep.join([str(Path.cwd()), str(Path(__file__).parent), os.environ.get("PYTHONPATH", "")])
    done = subprocess.run(
        [sys.executable, "-c", limit],
        capture_output=True,
        text=True,
        timeout=60,
        env={**os.environ, "PYTHONPATH": path},
    )
    assert done.returncode == 2
    last = done.stderr.strip().splitlines()[-1]
    assert last.startswith("avo engine: "), done.stderr
    run.script([["say", "more room"]], "again")
    process = run.start()
    run.until(lambda r: any(e.event().resumed for e in r.events(kinds=("run_started",))))
    process.send_signal(signal.SIGTERM)
    assert run.finish(process) == 0, run.log()


def test_a_direction_that_comes_as_the_operator_gives_up_gets_its_turn(new_run):
    run = new_run([["sleep", 30]])
    process = run.start()
    run.until(lambda r: run.doing(r).startswith("sleep"))
    run.answered(run.send("direct", text="look here"))
    run.send("interrupt")
    run.send("resume")
    assert run.finish(process) == 0
    assert [f.text for f in facts(run, "said")] == ["person: look here"]
    assert facts(run, "state")[-1].reason.startswith("nothing left to try")


def test_a_lock_that_cannot_be_made_a_torn_journal_and_a_newer_one_are_one_line_each(new_run):
    run = new_run(CLIMB)
    run.folder.lock.mkdir()
    assert run.finish() == 2
    assert run.log().splitlines()[-1].startswith(f"avo engine: cannot write {run.folder.lock}")
    run.folder.lock.rmdir()
    run.folder.journal.write_bytes(b"not a database at all" * 100)
    assert run.finish() == 2
    assert "cannot be read as a journal" in run.log().splitlines()[-1]
    run.folder.journal.unlink()
    assert run.finish() == 0
    with contextlib.closing(sqlite3.connect(run.folder.journal)) as database, database:
        database.execute("UPDATE meta SET value = '99' WHERE key = 'schema'")
    assert run.finish() == 2
    assert "has schema 99" in run.log().splitlines()[-1]
