"""What the rule as shipped commits and costs, by simulation, beside the rule we began with.

500 attempts on a machine with 1 % noise in each source of each round ("1 % round noise").
Drift of the whole machine cancels, because every ratio is taken within a round.
"""

from __future__ import annotations

import random
from functools import cache
from statistics import mean

import pytest

from engine import intervals
from tests.gate.rounds import Machine, Session, judge, session, tally

USUAL = Machine(noise=0.01)
QUIET = Machine(noise=0.003)
# One round in twenty is slowed by about a tenth, as when something else wakes up on the machine.
DISTURBED = Machine(noise=0.01, hit_share=0.05, hit_size=0.1)

# Eight configurations on an idle two-core machine, as measured with the CPU problems.
EIGHT = Machine(noise=0.01, configurations=8, own_noise=0.03)


def _all_equal(rng: random.Random) -> float:
    return 0.0


def _mix(rng: random.Random) -> float:
    """45 % equal, 25 % 0.3 % slower, 25 % 1 % slower, 5 % 0.5 % faster."""
    u = rng.random()
    return 0.0 if u < 0.45 else -0.003 if u < 0.70 else -0.01 if u < 0.95 else 0.005


@cache
def _sessions(machine: Machine, draw, count: int) -> list[Session]:
    """Four are 2,000 attempts: at the permitted 0.5 % a false improvement comes ten times, give or take three, and 16 are
    allowed below.
    """
    return [session(random.Random(seed), machine, draw, 500) for seed in range(count)]


SESSIONS = pytest.mark.parametrize("count", [4, pytest.param(60, marks=pytest.mark.soak)])


def test_the_same_kernel_against_itself_is_called_improved_at_most_once_in_a_hundred():
    for machine in (USUAL, QUIET, DISTURBED, EIGHT, Machine(noise=0.03), Machine(noise=0.0003)):
        verdicts, _ = tally(machine, 1.0, trials=800)
        assert verdicts["improved"] / 800 <= 0.0075, machine
    verdicts, _ = tally(USUAL, 1.0, trials=200)
    assert verdicts["improved"] <= 2


def test_looking_often_does_not_inflate_the_error():
    """The bound is 1 - confidence = 0.5 % for all looks together; at noise that the first looks only assume, far less."""
    for noise in (0.002, 0.01, 0.05, 0.1):
        verdicts, _ = tally(Machine(noise=noise), 1.0, trials=1000, seed=7)
        assert verdicts["improved"] / 1000 <= 0.0075, noise


@pytest.mark.parametrize("configurations", [2, 8])
@pytest.mark.parametrize(("shared", "own"), [(0.0, 0.02), (0.03, 0.01), (0.05, 0.005), (0.3, 0.05), (0.3, 0.3)])
def test_an_early_word_is_no_more_often_wrong_whether_configurations_err_together_or_apart(configurations, shared, own):
    machine = Machine(noise=shared, configurations=configurations, own_noise=own)
    verdicts, _ = tally(machine, 1.0, trials=300)
    assert verdicts["improved"] <= 4


@pytest.mark.parametrize(
    ("speed", "most_rounds", "verdict"),
    [
        (2.0, 2.2, "improved"),
        (1.5, 3.5, "improved"),
        (1.3, 4.2, "improved"),
        (1.15, 6.5, "improved"),
        (0.9, 4.5, "regressed"),
    ],
)
def test_eight_configurations_that_agree_make_a_middling_step_plain_within_few_rounds(speed, most_rounds, verdict):
    verdicts, rounds = tally(EIGHT, speed, trials=300)
    assert verdicts[verdict] == 300
    assert rounds <= most_rounds


@SESSIONS
def test_equal_candidates_do_not_move_the_lineage(count: int):
    for machine in (USUAL, QUIET):
        runs = _sessions(machine, _all_equal, count)
        assert mean(r.false_improvements for r in runs) <= 4  # the first rule: 2.7 in 500
        assert all(r.true_change == 0 for r in runs)


@SESSIONS
def test_over_a_mix_of_candidates_the_lineage_gains_and_no_noise_wears_it_down(count: int):
    usual, quiet = _sessions(USUAL, _mix, count), _sessions(QUIET, _mix, count)
    assert mean(r.true_change for r in usual) > 0.02  # over 60 sessions +3.5 %; the first rule at 20 rounds: +3.1 %
    assert mean(r.true_change for r in quiet) > 0.10
    lost = [r.true_change for r in (*usual, *quiet) if r.true_change < 0]
    # A match may be a quarter of a percent slower, against the last proven version: in a hundred sessions that shows.
    assert len(lost) <= len((*usual, *quiet)) / 50
    assert min(lost, default=0.0) >= -0.005
    assert mean(r.false_improvements for r in (*usual, *quiet)) <= 3
    assert mean(r.slower_matches for r in usual) <= 2


@SESSIONS
def test_what_the_verdicts_claim_is_close_to_the_truth_on_a_quiet_machine(count: int):
    runs = _sessions(QUIET, _mix, count)
    assert mean(r.reported - r.true_change for r in runs) < 0.05


@pytest.mark.parametrize(
    ("speed", "most_rounds", "share"),
    [(10.0, 2.1, 1.0), (2.0, 2.1, 1.0), (1.3, 6.5, 1.0), (1.05, 10, 0.99), (1.02, 16, 0.97), (1.01, 23, 0.5)],
)
def test_a_real_step_is_found_with_no_more_rounds_than_it_takes(speed: float, most_rounds: float, share: float):
    verdicts, rounds = tally(USUAL, speed, trials=400)
    assert rounds <= most_rounds
    assert verdicts["improved"] / 400 >= share


def test_a_hopeless_candidate_is_given_up_before_the_last_round():
    for speed, most_rounds in ((0.5, 2.1), (0.95, 6.5), (0.99, 7.5), (1.0, 16)):
        verdicts, rounds = tally(USUAL, speed, trials=400)
        assert rounds <= most_rounds, speed
        assert verdicts["regressed"] / 400 >= 0.9


def test_trimming_keeps_the_power_when_rounds_are_disturbed(monkeypatch: pytest.MonkeyPatch):
    """With one time in twenty hit, +2 % is proven far more often; undisturbed it costs little."""
    trimmed, _ = tally(DISTURBED, 1.02, trials=600)
    calm, _ = tally(USUAL, 1.02, trials=600)
    monkeypatch.setattr(intervals, "TRIM", 0.0)
    plain, _ = tally(DISTURBED, 1.02, trials=600)
    calm_plain, _ = tally(USUAL, 1.02, trials=600)
    assert trimmed["improved"] > 1.2 * plain["improved"]
    assert calm["improved"] > 0.95 * calm_plain["improved"]


def test_a_two_fold_step_is_found_among_wild_disturbances():
    rng, wild = random.Random(5), Machine(noise=0.02, hit_share=0.2, hit_size=0.3)
    verdicts = [judge(rng, wild, 2.0, 1.0) for _ in range(200)]
    assert sum(v.verdict == "improved" for v in verdicts) >= 196
    assert mean(v.rounds for v in verdicts) < 5
