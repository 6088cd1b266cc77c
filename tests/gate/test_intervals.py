"""The statistics under the gate, against published tables and against simulation."""

from __future__ import annotations

import random

import pytest

from engine import intervals


@pytest.mark.parametrize(
    ("tail", "freedom", "expected"),
    [(0.005, 1, 63.657), (0.0005, 3, 12.924), (0.025, 10, 2.228), (0.005, 23, 2.807), (0.001, 120, 3.160)],
)
def test_student_agrees_with_the_printed_table(tail: float, freedom: int, expected: float):
    assert intervals.student(tail, freedom) == pytest.approx(expected, abs=0.001)


@pytest.mark.parametrize(("least", "most"), [(2, 24), (2, 2), (3, 5), (2, 10), (4, 100)])
def test_looks_begin_at_the_least_end_at_the_most_and_rise(least: int, most: int):
    at = intervals.looks(least, most)
    assert (at[0], at[-1]) == (least, most)
    assert list(at) == sorted(set(at))


def test_all_looks_together_spend_exactly_the_error_that_is_allowed():
    shares = intervals.spend(0.005, intervals.looks(2, 24))
    assert sum(shares) == pytest.approx(0.005)
    assert list(shares) == sorted(shares)


@pytest.mark.parametrize("count", [6, 8, 12, 16, 24])
def test_an_interval_misses_the_mean_no_more_often_than_it_says(count: int):
    rng, tail, trials = random.Random(count), 0.02, 4000
    missed = 0
    for _ in range(trials):
        found = intervals.interval([[rng.gauss(0.5, 0.02)] for _ in range(count)], tail)
        missed += found.low > 0.5
    assert missed / trials < 1.2 * tail


def test_one_wild_round_moves_a_trimmed_interval_little():
    rng = random.Random(1)
    calm = [rng.gauss(0.05, 0.01) for _ in range(16)]
    before, after = (intervals.interval([[x] for x in v], 0.005) for v in (calm, [*calm[:-1], -3.0]))
    assert after.mean == pytest.approx(before.mean, abs=0.005)
    assert after.low > 0


def test_with_few_rounds_every_single_one_has_to_agree():
    assert intervals.interval([[2.3], [2.3]], 1e-5).low > 0
    assert intervals.interval([[2.3], [0.0]], 1e-5).low < 0
