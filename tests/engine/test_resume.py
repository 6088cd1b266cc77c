"""Killed anywhere, the next engine goes on from the same incumbent; nothing is lost and nothing counted twice."""

import random
import signal
import time

import pytest
from invariants import wrong_with

from engine import commits, intake, resume
from engine.host import kill_orphan
from engine.lineage import Lineage
from engine.record import events as ev
from engine.record.errors import LineageError
from engine.record.journal import Journal
from engine.record.liveness import run_state
from engine.record.reader import Reader
from engine.record.run import RunFolder
from engine.record.scores import ConfigurationScore, Score

CLIMB = [["climb"]]
SHORT = [["sleep", 0.05]]


def check(run):
    """What must hold of every run, holds; its versions."""
    assert wrong_with(run.folder) == []
    return run.ask(lambda r: r.versions())


def test_killed_at_random_moments_it_resumes_with_everything_in_order(new_run):
    run = new_run(CLIMB, "again")
    chance = random.Random(7)
    incumbents = []
    for _ in range(12):
        process = run.start()
        time.sleep(chance.uniform(0.15, 0.9))  # the moment of the kill is the test's subject, not a wait for something
        process.kill()
        process.wait()
        head = run.ask(lambda r: r.head())
        incumbents.append(-1 if head is None else head)
    process = run.start()
    done = run.ask(lambda r: r.counts()[0]) or 0
    run.until(lambda r: r.counts()[0] > max(done, 2) and run.state(r) == "running")
    process.send_signal(signal.SIGTERM)
    assert run.finish(process) == 0, run.log()
    assert incumbents == sorted(incumbents)
    assert len(check(run)) > 2
    assert not kill_orphan(run.folder.artifacts)
    starts = [e.event() for e in run.ask(lambda r: r.events(kinds=("run_started",)))]
    assert all(s.resumed and s.note for s in starts[1:])


def test_killed_in_a_tool_it_says_what_was_cut_off_and_does_not_count_it(new_run):
    run = new_run([["write", "// speed: 2\n// slow: 30"], ["evaluate"]], CLIMB)
    process = run.start()
    run.until(lambda r: "building" in run.doing(r) and r.events(kinds=("tool_started",)))
    process.kill()
    process.wait()
    assert run_state(run.ask(lambda r: r.engine())) == "crashed"
    assert run.finish() == 0, run.log()
    again = run.ask(lambda r: r.events(kinds=("run_started",))[-1].event())
    assert again.resumed
    assert "cut off: 1 evaluate" in again.note
    assert "an orphaned scorer was ended" in again.note
    assert [a.attempt for a in run.ask(lambda r: r.attempts())] == [0, 1, 2]
    check(run)


def test_running_time_survives_a_kill_and_the_time_between_is_free(new_run):
    run = new_run([["sleep", 600]])
    process = run.start()
    run.until(lambda r: float(r.meta("elapsed_s") or 0) > 1.5)
    process.kill()
    process.wait()
    before = run.ask(lambda r: float(r.meta("elapsed_s")))
    time.sleep(0.5)
    run.script(SHORT, SHORT)
    assert run.finish() == 0
    after = run.ask(lambda r: float(r.meta("elapsed_s")))
    assert before <= after < before + 5


# --- what a killed engine can leave behind, each made by hand with the real journal and the real git ---


def score_of(tflops):
    rows = (ConfigurationScore("small", True, tflops, 0.0, 1000 / tflops),)
    return Score("tiny", True, "ok", "", "fake", 0.1, rows, tflops)


class Wreck:
    """A run with v0 and one accepted attempt, in pieces."""

    def __init__(self, path):
        self.folder = RunFolder(path)
        self.candidates = self.folder.artifacts / "candidates"
        self.journal = Journal.create(self.folder.journal, "wreck")
        self.lineage = Lineage.create(self.folder.lineage)
        self.reader = Reader(self.folder.journal)
        seed = intake.store({"attention.cpp": b"// speed: 1\n"}, self.candidates)
        verdict = ev.GateDecided(0, "improved", "the seed")
        fact = self.commit(seed, 0, None, verdict, 1.0)
        self.journal.append(self.attempt(seed, 0, None, 1.0), fact, ev.StepStarted(1, 0))
        self.better = intake.store({"attention.cpp": b"// speed: 2\n"}, self.candidates)
        self.verdict = ev.GateDecided(1, "improved", "2x", 2.0, 1.9, 2.1, 4)

    def attempt(self, candidate, number, parent, tflops):
        return ev.AttemptScored(number, 1, parent, "d", "wider", candidate.source_hash, score_of(tflops))

    def commit(self, candidate, version, parent, verdict, tflops):
        return commits.commit(
            self.lineage, candidate.files, version=version, parent=parent, attempt=verdict.attempt,
            score=score_of(tflops), verdict=verdict, direction="d", name="wider", message="wider",
        )  # fmt: skip

    def reconcile(self):
        return resume.reconcile(self.journal, self.reader, self.lineage, self.candidates)


@pytest.fixture
def wreck(tmp_path):
    made = Wreck(tmp_path)
    yield made
    made.reader.close()
    made.journal.close()


def test_a_commit_without_its_fact_is_adopted(wreck):
    wreck.journal.append(wreck.attempt(wreck.better, 1, 0, 2.0), wreck.verdict)
    fact = wreck.commit(wreck.better, 1, 0, wreck.verdict, 2.0)
    found = wreck.reconcile()
    assert found.notes == ("v1 was committed but not journaled; it is now",)
    version = wreck.reader.incumbent()
    assert (version.version, version.commit, version.ratio, version.attempt) == (1, fact.commit, 2.0, 1)
    assert wreck.lineage.head() == 1
    assert wreck.reconcile().notes == ()


def test_a_verdict_without_its_commit_is_completed_once(wreck):
    wreck.journal.append(wreck.attempt(wreck.better, 1, 0, 2.0), wreck.verdict)
    assert wreck.reconcile().notes == ("a1 was accepted but not committed; it is now v1",)
    assert wreck.lineage.files(1) == dict(wreck.better.files)
    assert wreck.reader.incumbent().geomean_tflops == 2.0
    assert wreck.reconcile().notes == ()


def test_a_commit_that_no_verdict_stands_behind_is_left_out_and_its_number_not_used_again(wreck):
    wreck.lineage.commit(wreck.better.files, version=1, parent=0, score=score_of(2.0), message="not the engine's")
    assert wreck.reconcile().notes == ("v1 in git has no verdict and was left out",)
    assert wreck.reader.head() == 0
    assert wreck.lineage.head() == 0
    assert commits.next_version(wreck.reader, wreck.lineage) == 2


def test_a_version_that_the_journal_lost_with_its_verdict_comes_back_from_git(wreck):
    fact = wreck.commit(wreck.better, 1, 0, wreck.verdict, 2.0)
    assert wreck.reconcile().notes == ("v1 was lost by the journal; it is back from git",)
    version, attempt = wreck.reader.incumbent(), wreck.reader.attempt(1)
    assert (version.commit, version.ratio, version.low, version.high) == (fact.commit, 2.0, 1.9, 2.1)
    assert (attempt.source_hash, attempt.verdict, attempt.version) == (wreck.better.source_hash, "improved", 1)
    assert version.score == score_of(2.0)
    assert "speed: 2" in wreck.reader.attempt_diff(1)
    assert wreck.reconcile().notes == ()


def test_a_verdict_whose_sources_are_gone_is_named_and_not_committed(wreck):
    wreck.journal.append(wreck.attempt(wreck.better, 1, 0, 2.0), wreck.verdict)
    (wreck.better.folder / "attention.cpp").write_text("// something else\n")
    assert "its sources are gone" in wreck.reconcile().notes[0]
    assert wreck.reader.head() == 0


def test_a_verdict_from_before_a_rollback_is_not_completed(wreck):
    wreck.journal.append(wreck.attempt(wreck.better, 1, 0, 2.0), wreck.verdict, ev.HeadMoved(1, 0, "rollback"))
    assert wreck.reconcile().notes == ()


def test_a_version_that_git_lacks_is_an_error_that_names_it(wreck):
    wreck.journal.append(ev.VersionCommitted(1, "f" * 40, 0, 1, "improved", "d", "wider", score_of(2.0)))
    with pytest.raises(LineageError, match=r"lacks v1, which the journal has \(ffffffffff\)"):
        wreck.reconcile()


def test_the_head_of_git_follows_the_journal(wreck):
    wreck.journal.append(wreck.attempt(wreck.better, 1, 0, 2.0), wreck.verdict)
    wreck.journal.append(wreck.commit(wreck.better, 1, 0, wreck.verdict, 2.0))
    wreck.lineage.move_head(0)
    assert wreck.reconcile().notes == ("the head was put back to the journal's",)
    assert wreck.lineage.head() == 1


def test_a_lost_lineage_ends_the_engine_and_says_what_to_do(new_run, tmp_path):
    run = new_run(CLIMB)
    run.finish()
    run.folder.lineage.rename(tmp_path / "elsewhere")
    assert run.finish() == 2
    assert "lineage is missing; restore it from a backup, then resume" in run.log().splitlines()[-1]


def test_a_workspace_that_was_deleted_comes_back(new_run):
    import shutil

    run = new_run(CLIMB)
    run.finish()
    shutil.rmtree(run.folder.workspace)
    run.script([], CLIMB)
    assert run.finish() == 0, run.log()
    assert "// speed" in (run.folder.workspace / "attention.cpp").read_text()
