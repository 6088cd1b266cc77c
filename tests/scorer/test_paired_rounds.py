"""Rounds: several sources in fresh processes, interleaved, every call checked."""

from __future__ import annotations

import contextlib
import shutil
import threading
import time
from pathlib import Path

import pytest
from served import SMALL, Scorer, descendants, name_of

from engine.scorer.timing import EVALUATE, ROUND, Plan

HERE = Path(__file__).parent
TILED, NAIVE = HERE / "honest" / "tiled.cpp", HERE / "honest" / "naive.cpp"


def rounds(scorer: Scorer, *sources: object, **more: object):
    return scorer.ask(
        op="rounds", sources=[str(s) for s in sources], problem=SMALL, **{"rounds": 2, "first": 0, **more}
    )


def spinner(tmp_path: Path) -> Path:
    folder = tmp_path / "spinner"
    folder.mkdir()
    shutil.copy(HERE / "cheats" / "leaves_spinning_threads.cpp", folder)
    shutil.copy(HERE / "cheats" / "base.h", folder)
    return folder


def test_a_round_has_a_latency_per_source_and_configuration(scorer: Scorer):
    found = rounds(scorer, TILED, NAIVE, "baseline:torch_sdpa")
    assert found["configurations"] == ["full_128", "full_256", "causal_256", "causal_512"]
    assert len(found["rounds"]) == 2
    for r in found["rounds"]:
        assert sorted(r["order"]) == [0, 1, 2]
        assert [len(row) for row in r["latency_us"]] == [4, 4, 4]
        assert all(us > 0 for row in r["latency_us"] for us in row)
        assert r["failures"] == [None, None, None]
        assert r["seconds"] > 0
    assert found["integrity"]["tier"]


@pytest.mark.parametrize(
    ("first_us", "halves"),
    [
        (100.0, (4, 4)),
        (10_000.0, (3, 3)),
        (24_999.0, (1, 1)),
        (25_000.0, (0, 1)),
        (79_999.0, (0, 1)),
        (80_000.0, (0, 0)),
    ],
)
def test_a_slow_call_warms_up_for_itself_and_a_very_slow_one_is_its_own_measurement(first_us: float, halves: tuple):
    assert ROUND.in_a_half(first_us) == halves


def test_a_device_that_names_no_such_bound_always_warms_up():
    assert Plan(budget_us=8_000.0, least=2, most=4).in_a_half(79_000.0) == (1, 1)


def test_few_configurations_share_the_time_of_a_pass():
    calls = [EVALUATE.among(configurations).more_calls(30_000.0) for configurations in (1, 2, 3, 8, 16)]
    assert calls == [10, 5, 3, 2, 2]
    of_quick_ones = [EVALUATE.among(configurations).more_calls(1_000.0) for configurations in (1, 2, 5, 8)]
    assert of_quick_ones == [5 * EVALUATE.most, 15, EVALUATE.most, EVALUATE.most], "within the most for that share"


def test_the_order_turns_from_round_to_round(scorer: Scorer):
    first = rounds(scorer, TILED, NAIVE, configurations=["full_128"], rounds=4)["rounds"]
    assert {tuple(r["order"]) for r in first} == {(0, 1), (1, 0)}
    again = rounds(scorer, TILED, NAIVE, configurations=["full_128"], rounds=1, first=1)["rounds"]
    assert again[0]["order"] == first[1]["order"]


def test_a_rest_that_is_asked_for_comes_before_each_turn(scorer: Scorer):
    """At least one turn each: where a call is slow, as on a busy machine, the first one counts and there is no other."""
    (rested,) = rounds(scorer, TILED, NAIVE, configurations=["full_128"], rounds=1, rest_s=0.6)["rounds"]
    hurried = rounds(scorer, TILED, NAIVE, configurations=["full_128"], rounds=3)["rounds"]
    assert rested["seconds"] >= 2 * 0.6
    assert rested["seconds"] > min(r["seconds"] for r in hurried) + 0.6


def test_the_faster_source_is_the_faster_one(scorer: Scorer, candidate):
    eight_times = """#define attention_forward once
#include "once.inc"
#undef attention_forward
extern "C" void attention_forward(const float* q, const float* k, const float* v, float* o, int b, int hq, int hk,
                                  int s, int d, int c, float x) {
    for (int i = 0; i < 8; ++i) once(q, k, v, o, b, hq, hk, s, d, c, x);
}
"""
    slow = candidate(eight_times, once__inc=NAIVE.read_text())
    found = rounds(scorer, NAIVE, slow, configurations=["full_128"], rounds=3)["rounds"]
    once, eight = (min(r["latency_us"][source][0] for r in found) for source in range(2))
    assert 3 < eight / once < 20


def test_a_source_that_fails_is_named_and_the_others_are_measured(scorer: Scorer, candidate):
    wrong = TILED.read_text().replace("sum[x] * scale;", "sum[x] * scale * 1.01f;")
    found = rounds(scorer, NAIVE, candidate(wrong), configurations=["full_128"])
    assert len(found["rounds"]) == 1
    r = found["rounds"][0]
    assert r["failures"][0] is None and r["latency_us"][0][0] > 0
    assert r["failures"][1]["stage"] == "check"
    assert r["failures"][1]["reason"]
    assert r["latency_us"][1] == [None]


def test_a_source_that_does_not_build_is_a_failure_of_every_round(scorer: Scorer, candidate):
    r = rounds(scorer, NAIVE, candidate("int broken("), configurations=["full_128"])["rounds"][0]
    assert r["failures"][1]["stage"] == "build"


def running(workers: list[int]) -> int:
    """How many of these processes have a thread that is not stopped."""
    found = 0
    for pid in workers:
        with contextlib.suppress(OSError):
            stats = [p.read_text() for p in Path(f"/proc/{pid}/task").glob("*/stat")]
            found += any(stat.rpartition(") ")[2][0] in "RSD" for stat in stats)
    return found


def watch(scorer: int, done: threading.Event, looks: list[int]) -> None:
    """Look at the scorer's two workers until `done`: how many of them ran, at each look at which both were there."""
    while not done.is_set():
        workers = [pid for pid in descendants(scorer) if name_of(pid) == "runner"]
        until = time.monotonic() + 0.05
        while len(workers) == 2 and time.monotonic() < until and not done.is_set():
            looks.append(running(workers))


def test_a_worker_whose_threads_go_on_spinning_is_frozen_while_it_is_not_its_turn(scorer: Scorer, tmp_path: Path):
    """Catalogue line 13. A look is not a moment, so the turn may pass from one to the other within one in a few."""
    done, looks = threading.Event(), list[int]()
    watching = threading.Thread(target=watch, args=(scorer.process.pid, done, looks))
    watching.start()
    try:
        found = rounds(scorer, NAIVE, spinner(tmp_path), configurations=["full_256"], rounds=6)["rounds"]
    finally:
        done.set()
        watching.join()
    assert all(r["failures"] == [None, None] for r in found)
    assert looks.count(1) >= 10
    assert looks.count(2) < 0.2 * len(looks)


def test_a_skip_that_begins_after_some_calls_is_caught_in_rounds_too(scorer: Scorer, tmp_path: Path):
    folder = tmp_path / "skips"
    folder.mkdir()
    shutil.copy(HERE / "cheats" / "skips_after_three_calls.cpp", folder)
    shutil.copy(HERE / "cheats" / "base.h", folder)
    assert rounds(scorer, TILED, folder)["rounds"][0]["failures"][1]["stage"] == "check"


@pytest.mark.soak
@pytest.mark.timeout(600)
def test_one_kernel_against_itself_shows_no_difference(scorer: Scorer):
    from math import exp, log

    found = rounds(scorer, TILED, TILED, rounds=40)["rounds"]
    ratios = [sum(log(b / a) for a, b in zip(*r["latency_us"], strict=True)) / 4 for r in found]
    assert abs(exp(sum(ratios) / len(ratios)) - 1) < 0.02
