"""Time and money: counted through pauses and restarts, limited in words."""

import pytest

from engine import budget
from engine.budget import Stopwatch, Usage
from engine.record.config import Limits
from engine.record.errors import Refused

NOTHING = Usage(0, 0.0, 0.0, 0, 0)


def test_a_stopwatch_counts_only_while_it_runs():
    now = [100.0]
    watch = Stopwatch(5.0, lambda: now[0])
    assert watch.elapsed_s == 5.0
    watch.go()
    now[0] += 3
    watch.go()
    assert watch.elapsed_s == 8.0
    watch.hold()
    now[0] += 50
    assert watch.elapsed_s == 8.0
    watch.hold()
    watch.go()
    now[0] += 1
    assert watch.elapsed_s == 9.0


@pytest.mark.parametrize(
    ("limits", "used", "reason"),
    [
        (Limits(), Usage(9, 9.0, 9.0, 9, 9), None),
        (Limits(versions=3), Usage(2, 0, 0, 0, 0), None),
        (Limits(versions=3), Usage(3, 0, 0, 0, 0), "the limit of 3 versions is reached"),
        (Limits(minutes=1.0), Usage(0, 1.0, 0, 0, 0), "the limit of 1 minute is reached"),
        (Limits(usd=2.5), Usage(0, 0, 2.6, 0, 0), "the limit of $2.5 is reached"),
        (Limits(tokens=1_000_000), Usage(0, 0, 0, 1_000_000, 0), "the limit of 1,000,000 tokens is reached"),
        (Limits(attempts=1), Usage(0, 0, 0, 0, 1), "the limit of 1 attempt is reached"),
    ],
)
def test_the_first_limit_that_is_used_up_is_named(limits, used, reason):
    assert budget.reached(limits, used) == reason


def test_a_warning_comes_at_two_thirds_and_at_nine_tenths():
    limits = Limits(usd=10.0)
    assert budget.warnings(limits, Usage(0, 0, 5.0, 0, 0)) == []
    assert budget.warnings(limits, Usage(0, 0, 7.0, 0, 0)) == ["67% of the limit of $10 is used"]
    assert budget.warnings(limits, Usage(0, 0, 9.5, 0, 0)) == ["90% of the limit of $10 is used"]


def test_changed_limits_are_stored_and_read_back():
    limits = budget.changed(Limits(versions=3), {"versions": None, "minutes": 90})
    assert limits == Limits(minutes=90)
    assert budget.current(Limits(versions=3), budget.stored(limits)) == limits
    assert budget.current(Limits(versions=3), None) == Limits(versions=3)


@pytest.mark.parametrize(
    "arguments",
    [
        {},
        {"hours": 1},
        {"versions": 0},
        {"versions": 2.5},
        {"usd": "much"},
        {"minutes": float("nan")},
        {"minutes": True},
    ],
)
def test_an_impossible_limit_is_refused(arguments):
    with pytest.raises(Refused):
        budget.changed(Limits(), arguments)
