"""What counts as stuck, rule by rule, and what does not."""

from dataclasses import replace

import pytest

from engine.detectors import Trajectory, alternates, cycle, failures, look, stall, visited
from engine.record.config import SupervisorConfig
from engine.record.reader import Attempt

RULE = SupervisorConfig()


def attempt(number, source="", *, stage="ok", ratio=None, verdict=None, direction="d"):
    return Attempt(
        attempt=number, step=1, parent=0, direction=direction, name=f"try {number}", source_hash=source or f"s{number}",
        stage=stage, correct=stage == "ok", geomean_tflops=1.0, verdict=verdict, ratio=ratio, low=None, high=None,
        rounds=None, reason="because" if stage != "ok" else "", version=None, created_at=0.0, seconds=1.0, seq=number,
        hypothesis="", log="",
    )  # fmt: skip


def path(*attempts, pursued=(), minutes=0.0):
    return Trajectory(tuple(attempts), tuple(pursued), minutes, "v3 tiles")


def many(count):
    return [attempt(n) for n in range(count)]


@pytest.mark.parametrize(
    ("count", "level"),
    [(7, None), (8, "nudge"), (15, "nudge"), (16, "review"), (32, "restore"), (63, "restore"), (64, "pause")],
)
def test_a_stall_climbs_the_ladder_with_the_attempts(count, level):
    found = stall(path(*many(count)), RULE)
    assert (found.level if found else None) == level


@pytest.mark.parametrize(
    ("minutes", "count", "level"), [(59, 3, None), (60, 3, "nudge"), (120, 3, "review"), (500, 0, None)]
)
def test_a_stall_by_the_clock_needs_at_least_one_attempt(minutes, count, level):
    found = stall(path(*many(count), minutes=minutes), RULE)
    assert (found.level if found else None) == level


def test_the_evidence_names_the_best_the_outcomes_and_the_nearest():
    tries = [attempt(n, ratio=0.9 + n / 100, verdict="regressed") for n in range(8)]
    found = stall(path(*tries, minutes=12), RULE)
    assert found.evidence == (
        "no new best for 8 candidates and 12 min since v3 tiles: 8 regressed; nearest a7 try 7 at 0.970x"
    )


def test_quick_then_full_on_the_same_sources_is_one_visit():
    assert visited([attempt(1, "a"), attempt(2, "a"), attempt(3, "b"), attempt(4, "a")]) == [
        ("a", 1),
        ("b", 3),
        ("a", 4),
    ]
    assert cycle(path(*[attempt(n, "ab"[n // 2 % 2]) for n in range(4)]), RULE) is None


def test_sources_that_come_back_are_a_cycle():
    come_back = [attempt(n, s) for n, s in enumerate("axayazab")]
    assert cycle(path(*come_back[:4]), RULE) is None
    assert cycle(path(*come_back[:6]), RULE).level == "nudge"
    assert cycle(path(*come_back, *[attempt(9 + n, s) for n, s in enumerate("axa")]), RULE).level == "review"


def test_three_rounds_of_the_same_two_or_three_alternate():
    assert alternates("ababab") == 2
    assert alternates("xabcabcabc") == 3
    assert alternates("aaaaaa") is None
    assert alternates("abab") is None
    found = cycle(path(*[attempt(n, s) for n, s in enumerate("ababab")]), RULE)
    assert (found.level, found.name) == ("review", "2 candidates alternate")


def test_one_direction_begun_again_and_again_is_a_cycle():
    assert cycle(path(*many(3), pursued=["a", "b", "a"]), RULE) is None
    assert cycle(path(*many(3), pursued=["a", "b", "a", "a"]), RULE).level == "nudge"


def test_failures_count_from_the_end():
    broken = [attempt(n, stage="build") for n in range(5)]
    assert failures(path(*broken[:4]), RULE) is None
    assert failures(path(*broken, attempt(9)), RULE) is None
    found = failures(path(attempt(8), *broken), RULE)
    assert (found.level, found.evidence) == ("nudge", "5 build; the last: a4 build: because")
    assert failures(path(*[replace(b, stage="check") for b in broken * 2]), RULE).level == "review"


def test_the_most_serious_finding_comes_first():
    found = look(path(*[attempt(n, "same", stage="build") for n in range(20)]), RULE)
    assert [f.level for f in found] == sorted(
        (f.level for f in found), key=["pause", "restore", "review", "nudge"].index
    )
    assert {f.what for f in found} == {"stall", "cycle", "failures"}


def test_a_run_that_only_just_began_is_not_stuck():
    assert look(path(), RULE) == []
