"""The gate's rule, verdict by verdict, on rounds written by hand or made by a machine of known noise."""

from __future__ import annotations

import random
from dataclasses import replace

import pytest

from engine import gate
from engine.gate import More, Round, Verdict
from engine.record.config import GateConfig
from engine.record.scores import Score
from tests.gate.rounds import CORRECT, RULE, Machine, judge, one_round

QUIET = Machine(noise=0.01)


def test_a_wrong_candidate_is_incorrect_before_any_round():
    wrong = Score("mha_cpu", False, "check", "head 3 is off by 0.4", "test", 1.0)
    assert gate.decide(wrong, [], RULE) == Verdict("incorrect", "check: head 3 is off by 0.4")


def test_a_candidate_that_fails_in_a_round_is_incorrect_however_fast_it_was():
    rounds = [one_round(100, 1000), one_round(100, 1000, failed=0)]
    verdict = gate.decide(CORRECT, rounds, RULE)
    assert isinstance(verdict, Verdict)
    assert verdict.verdict == "incorrect"
    assert verdict.reason == "crash in full_512, round 2 of the gate: SIGSEGV"


def test_the_first_question_is_answered_with_the_least_number_of_rounds():
    assert gate.decide(CORRECT, [], RULE) == More(2, "too few rounds to say")


@pytest.mark.parametrize("speed", [10.0, 2.0])
def test_a_plain_step_takes_two_rounds(speed: float):
    verdict = judge(random.Random(1), QUIET, speed, 1.0)
    assert (verdict.verdict, verdict.rounds) == ("improved", 2)
    assert verdict.low is not None and verdict.low > 1
    assert verdict.ratio == pytest.approx(speed, rel=0.05)


@pytest.mark.parametrize("speed", [0.1, 0.5, 0.7])
def test_a_plain_loss_takes_two_rounds(speed: float):
    verdict = judge(random.Random(1), QUIET, speed, 1.0)
    assert (verdict.verdict, verdict.rounds) == ("regressed", 2)


def test_a_small_step_takes_more_rounds_and_is_then_proven():
    verdict = judge(random.Random(1), QUIET, 1.03, 1.0)
    assert verdict.verdict == "improved"
    assert 4 < verdict.rounds <= 16


def test_on_a_very_quiet_machine_an_equal_candidate_matches():
    verdict = judge(random.Random(1), Machine(noise=0.001), 1.0, 1.0)
    assert verdict.verdict == "matched"
    assert verdict.low is not None and verdict.low > 1 - RULE.match_margin


def test_on_a_noisy_machine_an_equal_candidate_is_not_proven_and_so_not_committed():
    verdict = judge(random.Random(1), Machine(noise=0.03), 1.0, 1.0)
    assert not verdict.commits


def test_two_equal_clock_readings_do_not_prove_a_perfect_clock():
    decision = gate.decide(CORRECT, [one_round(999.99, 1000)] * 6, RULE)
    assert not (isinstance(decision, Verdict) and decision.verdict == "improved")


def test_one_lucky_round_of_two_is_not_a_plain_step():
    decision = gate.decide(CORRECT, [one_round(100, 1000), one_round(1000, 1000)], RULE)
    assert isinstance(decision, More)


def test_a_match_is_judged_against_the_last_proven_better_version_too():
    rng = random.Random(1)
    machine = Machine(noise=0.0005)
    assert judge(rng, machine, 1.0, 1.0, 1.0).verdict == "matched"
    assert judge(rng, machine, 1.0, 1.0, 1.01).verdict == "regressed"


def test_an_improvement_on_a_weaker_match_that_is_no_better_than_the_anchor_is_only_a_match():
    rng = random.Random(1)
    assert judge(rng, Machine(noise=0.0003), 0.9995, 0.998, 1.0).verdict == "matched"


def test_time_bounds_the_rounds_and_the_reason_says_so():
    verdict = judge(random.Random(3), replace(QUIET, seconds=20.0), 1.01, 1.0)
    assert verdict.rounds <= 6
    assert verdict.verdict == "regressed"


def test_a_slow_seed_does_not_hold_up_a_plain_step():
    verdict = judge(random.Random(1), replace(QUIET, seconds=100.0), 10.0, 1.0)
    assert (verdict.verdict, verdict.rounds) == ("improved", 2)


BUSY = Machine(noise=0.05, configurations=4, own_noise=0.12, seconds=12.0)
TWO_ROUNDS = replace(RULE, max_seconds=25.0)


def test_when_time_allows_two_rounds_a_candidate_that_seems_better_gets_the_rounds_that_prove_it():
    verdicts = [judge(random.Random(n), BUSY, 1.45, 1.0, rule=TWO_ROUNDS) for n in range(40)]
    assert all(v.rounds <= 6 for v in verdicts)
    assert sum(v.verdict == "improved" for v in verdicts) >= 36
    assert any(v.rounds > 2 for v in verdicts)


def test_when_time_is_out_a_candidate_that_seems_no_better_is_not_measured_further():
    verdicts = [judge(random.Random(n), BUSY, 0.97, 1.0, rule=TWO_ROUNDS) for n in range(40)]
    assert sum(v.rounds for v in verdicts) < 3.5 * 40
    assert not any(v.verdict == "improved" for v in verdicts)


def test_rounds_beyond_the_time_do_not_make_the_same_kernel_better_more_often():
    verdicts = [judge(random.Random(n), BUSY, 1.0, 1.0, rule=TWO_ROUNDS) for n in range(1500)]
    assert sum(v.verdict == "improved" for v in verdicts) <= 15


def test_rounds_in_which_the_incumbent_failed_are_left_out():
    rounds = [one_round(500, 1000, failed=1), one_round(500, 1000), one_round(500, 1000)]
    verdict = gate.decide(CORRECT, rounds, RULE)
    assert isinstance(verdict, Verdict)
    assert (verdict.verdict, verdict.rounds) == ("improved", 2)


def test_an_incumbent_that_cannot_be_measured_ends_the_comparison_without_a_commit():
    rounds: list[Round] = []
    while isinstance(decision := gate.decide(CORRECT, rounds, RULE), More):
        rounds += [one_round(500, 1000, failed=1)] * decision.rounds
    assert not decision.commits
    assert "the incumbent could not be measured in 2 rounds: crash: SIGSEGV" in decision.reason


def test_every_configuration_counts_alike():
    twice, half = (500.0, 2000.0), (1000.0, 1000.0)
    rounds = [Round((0, 1), (twice, half), (None, None), 0.1)] * 2
    decision = gate.decide(CORRECT, rounds, GateConfig(max_rounds=2))
    assert isinstance(decision, Verdict)
    assert decision.ratio == pytest.approx(1.0)


def test_a_verdict_tells_its_ratio_its_bounds_and_its_rounds_in_words():
    verdict = judge(random.Random(1), QUIET, 2.0, 1.0)
    assert verdict.reason.startswith(f"{verdict.ratio:.4g}x the incumbent (between")
    assert verdict.reason.endswith("2 rounds): proven faster")


def test_the_scorers_json_becomes_a_round():
    value = {"order": [1, 0], "latency_us": [[1.5, None], [2.0, 3.0]], "seconds": 0.25,
             "failures": [{"stage": "check", "reason": "off", "configuration": "full_512"}, None]}  # fmt: skip
    taken = Round.from_json(value)
    assert taken.order == (1, 0)
    assert taken.latency_us == ((1.5, None), (2.0, 3.0))
    assert taken.failures[0] == gate.Failure("check", "off", "full_512")
    assert taken.failures[1] is None
