"""Evaluate and submit: which configurations are paired, and what a version's recorded figures rest on."""

import json
import math
import statistics
from dataclasses import replace
from pathlib import Path

import pytest

from engine.facts import of_score
from engine.gate import Round
from engine.lineage import Lineage
from engine.pairing import patience_s, within
from engine.record.config import GateConfig
from engine.record.scores import ConfigurationScore, Integrity, Score
from engine.scorer.problem import Configuration
from engine.settle import settled


def score(**latencies):
    rows = tuple(ConfigurationScore(n, True, 1000 / us, 0.1, us) for n, us in latencies.items())
    return Score("p", True, "ok", "", "fake", 0.1, rows, 1.0)


def rounds(*latencies):
    return [Round((0, 1), (tuple(own), (1.0,) * len(own)), (None, None), 0.1) for own in latencies]


def paired(run, attempt):
    return json.loads((run.folder.artifacts / "attempts" / f"a{attempt}.rounds.json").read_text())["configurations"]


@pytest.mark.parametrize(("device", "latencies"), [("cpu", [1000.0, 960.0]), ("cuda", [1200.0, 1000.0])])
def test_a_settled_score_is_the_low_quantile_of_processes_on_a_processor_and_their_median_on_a_gpu(device, latencies):
    flops = {"a": 1e9, "b": 1e9}
    found = settled(score(a=1000.0, b=1000.0), ("a", "b"), rounds((1200.0, 900.0), (1300.0, 1000.0)), flops, device)
    assert [c.latency_us for c in found.configurations] == latencies
    assert [c.tflops for c in found.configurations] == [pytest.approx(1e3 / us) for us in latencies]
    assert found.geomean_tflops == pytest.approx(math.sqrt(1e6 / math.prod(latencies)))


def test_a_later_evaluation_stands_for_as_many_passes_and_its_report_counts():
    later = replace(score(a=900.0, b=2000.0), integrity=Integrity(tier="x", quiet=True))
    flops = {"a": 1e9, "b": 1e9}
    found = settled(score(a=1000.0, b=1000.0), ("a",), rounds((800.0,)), flops, "cpu", later)
    assert [c.latency_us for c in found.configurations] == [pytest.approx(880.0), pytest.approx(1000.0)]
    assert found.geomean_tflops == pytest.approx(math.sqrt(1e6 / (880 * 1000)))
    assert found.integrity.quiet
    assert settled(later, (), [], flops, "cpu", score(a=1000.0, b=1000.0)).configurations[1].latency_us == 1000.0


def test_a_seed_that_was_measured_in_a_bad_moment_is_recorded_as_it_is_in_a_good_one(new_run):
    run = new_run([])
    seed = Path(run.config.problem_path) / "seed" / "attention.cpp"
    seed.write_text("// speed: 1.0\n// at first: 0.5\n")
    assert run.finish() == 0, run.log()
    first, version = run.ask(lambda r: r.attempt_score(0)), run.ask(lambda r: r.version(0))
    assert {c.latency_us for c in first.configurations} == {2000.0}
    assert {c.latency_us for c in version.score.configurations} == {1000.0}
    assert version.score == Lineage(run.folder.lineage).score(0)


def test_a_seed_that_is_wrong_when_it_is_measured_once_more_is_refused(new_run):
    run = new_run([])
    (Path(run.config.problem_path) / "seed" / "attention.cpp").write_text("// at first: 2.0\n// wrong later\n")
    assert run.finish() == 1
    assert "the seed of tiny is not correct (check: row 3 differs); mend it first" in run.log()
    assert run.ask(lambda r: r.head()) is None


def test_what_fails_when_it_is_measured_once_more_is_not_committed(new_run):
    run = new_run(
        [["write", "// speed: 1.5\n// wrong when patient"], ["submit"], ["write", "// speed: 1.2"], ["submit"]]
    )
    assert run.finish() == 0, run.log()
    first, second = (run.ask(lambda r, n=n: r.attempt(n)) for n in (1, 2))
    assert (first.verdict, first.reason, first.version) == ("incorrect", "check: row 3 differs", None)
    assert (second.verdict, second.version) == ("improved", 1)


def test_a_short_run_measures_a_version_for_a_moment_and_a_long_one_as_long_as_it_is_told():
    assert patience_s(10.0, math.inf) == 10.0
    assert patience_s(10.0, 100.0) == 4.0
    assert patience_s(10.0, -1.0) == 3.0
    assert patience_s(0.0, 100.0) == 0.0


def test_a_figure_of_one_timed_call_takes_its_spread_from_the_rounds():
    many = score(a=1000.0)
    one = replace(many, configurations=(replace(many.configurations[0], tflops_std=None),))
    found = [settled(s, ("a",), rounds((1250.0,), (2000.0,)), {"a": 1e9}, "cpu").configurations[0] for s in (one, many)]
    assert [c.tflops_std for c in found] == [pytest.approx(statistics.stdev([1.0, 0.8, 0.5])), 0.1]


def test_configurations_that_no_round_measured_keep_their_figure():
    flops = {"a": 1e9, "b": 1e9}
    found = settled(score(a=1000.0, b=1000.0), ("a",), rounds((800.0,), (1200.0,)), flops, "cpu")
    assert [c.latency_us for c in found.configurations] == [pytest.approx(920.0), 1000.0]
    assert settled(score(a=1000.0), (), [], {}, "cpu").configurations == score(a=1000.0).configurations


def test_a_short_run_gives_the_gate_a_share_of_what_is_left():
    rule = GateConfig(max_seconds=120.0)
    assert within(rule, math.inf) == rule
    assert within(rule, 400.0).max_seconds == 60.0
    assert within(rule, 1.0).max_seconds == 20.0


@pytest.mark.parametrize(
    ("seed", "better", "configurations"),
    [
        (1.0, 1.2, ["small", "causal"]),  # neither plain nor slow: everything
        (1.0, 2.6, ["small"]),  # plain: the quick suite says enough
        (0.0005, 0.0006, ["small"]),  # two seconds a call: a round of everything would take too long
    ],
)
def test_the_paired_rounds_measure_everything_unless_that_is_slow_or_the_answer_plain(
    new_run, tmp_path, seed, better, configurations
):
    run = new_run([["write", f"// speed: {better}"], ["submit"]])
    (tmp_path / "problem" / "seed" / "attention.cpp").write_text(f"// speed: {seed}\n")
    assert run.finish() == 0, run.log()
    assert paired(run, 1) == configurations
    verdict = run.ask(lambda r: r.attempt(1))
    assert verdict.verdict == "improved"
    assert ("paired on small" in verdict.reason) == (configurations == ["small"])


def test_a_profile_is_journaled_and_its_facts_serve_the_operator(new_run):
    run = new_run([["profile"]])
    assert run.finish() == 0, run.log()
    said = run.ask(lambda r: r.events(kinds=("said",)))[0].event().text
    assert "machine.cores" in said
    assert "profile.vector_bits" in said
    assert "score.causal_over_full" in said


def test_an_evaluation_shows_the_compilers_words_and_each_figure_while_it_runs(new_run):
    run = new_run([["write", "// speed: 1.1\n// time: 3"], ["evaluate"]])
    engine = run.start()
    shown = run.until(lambda r: (text := r.live().get("output", (0.0, ""))[1]) and "GFLOPS" in text and text)
    assert shown == "compiling\nsmall: 1.0 GFLOPS\n"
    assert run.finish(engine) == 0, run.log()


def test_facts_of_a_score_need_both_sides():
    shape = Configuration("a", 1, 16, 1, 1, 16, causal=False, quick=True)
    shapes = [shape, replace(shape, name="b", causal=True, seqlen=64)]

    class Problem:
        configurations = tuple(shapes)

    both = of_score(score(a=1000.0, b=2000.0), Problem)
    assert both["score.causal_over_full"] == pytest.approx(0.5)
    assert both["score.short_over_long"] == pytest.approx(2.0)
    assert of_score(score(a=1000.0), Problem) == {"score.geomean_tflops": 1.0}


def test_a_stalled_run_is_nudged_reviewed_restored_and_then_waits_for_its_person(new_run):
    from engine.record.config import SupervisorConfig

    rule = SupervisorConfig(stall_nudge=2, stall_review=4, stall_restore=6, stall_pause=8, cooldown=1)
    start = [["offer", "a", "b", "c", "d"], ["miss"]]
    run = new_run(start, [["inbox"], ["miss"]], *([[["inbox"], ["miss"]]] * 18), supervisor=rule)
    process = run.start()
    run.until(lambda r: run.doing(r) == "paused")
    steps = run.ask(lambda r: r.interventions())[::-1]
    assert [s.level for s in steps] == ["nudge", "review", "restore", "pause"]
    assert set(steps[1].directions) <= {f"direction {i} (untried)" for i in "abcd"}
    assert len(steps[1].directions) == 3
    said = [e.event().text for e in run.ask(lambda r: r.events(kinds=("said",)))]
    assert sum(t.startswith("supervisor: Supervisor (") for t in said) == 3
    alert = run.ask(lambda r: r.alerts(open_only=True))[0]
    assert (alert.what, alert.severity) == ("stall", "critical")
    run.send("resume")
    run.until(lambda r: run.state(r) == "running" and len(r.attempts()) > 9)
    run.send("stop")
    assert run.finish(process) == 0
