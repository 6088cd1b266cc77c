"""Waiting for quiet: who is heard, what is remembered of quiet, and that an evaluation with patience uses it."""

import contextlib
import itertools
import math
import os
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from served import KERNELS, SMALL, Scorer, with_programs

from engine.scorer import toolchain as tools
from engine.scorer.hands import Hands
from engine.scorer.listener import Listener
from engine.scorer.machine import has_quota
from engine.scorer.quiet import FORGETTING, Neighbours, is_quiet
from engine.scorer.timing import Passes


class Paced(Hands):
    """The judge's own library, whose ear hears what a test says: no test can put a neighbour on the other half of a core."""

    def __init__(self, *paces: float) -> None:
        super().__init__(tools.hands(tools.find()))
        self.paces = itertools.chain(paces[:-1], itertools.repeat(paces[-1]))

    def pace(self, threads: int) -> float:
        return next(self.paces)


def tasks() -> int:
    """Threads of this process."""
    return sum(1 for _ in Path("/proc/self/task").iterdir())


def no_check() -> None:
    """Nobody cancels."""


def test_a_neighbour_is_heard_by_a_pace_a_fifth_above_the_best(tmp_path: Path) -> None:
    ear = Neighbours(Paced(0.30, 0.35, 0.37, 0.29, 0.352, 0.345, 0.0), 2, tmp_path / "pace")
    assert [ear.busy() for _ in range(7)] == [False, False, True, False, True, False, False], "0: nothing was heard"
    assert (tmp_path / "pace").read_text() == "0.290000\n"


def test_the_next_scorer_knows_the_best_pace_and_a_wrong_one_is_forgotten(tmp_path: Path) -> None:
    file = tmp_path / "pace"
    assert not Neighbours(Paced(0.3), 2, file).busy()
    assert Neighbours(Paced(0.6), 2, file).busy(), "from the first moment on"
    file.write_text("0.1\n")
    scorers = 0
    while Neighbours(Paced(0.3), 2, file).busy():
        file.write_text(f"{float(file.read_text()) * FORGETTING}\n")  # as each scorer that hears better would
        scorers += 1
    assert scorers == math.ceil(math.log(0.3 / 1.2 / 0.1) / math.log(FORGETTING)) - 1
    file.write_text("not a number")
    assert not Neighbours(Paced(0.6), 2, file).busy()


def test_waiting_ends_with_quiet_or_with_the_time_or_with_a_cancel(tmp_path: Path) -> None:
    ear = Neighbours(Paced(0.3, 0.6, 0.6, 0.3, 0.6), 2, tmp_path / "pace")
    assert ear.await_quiet(0.0, no_check)
    assert ear.await_quiet(60.0, no_check), "the third look is quiet"
    begin = time.monotonic()
    assert not ear.await_quiet(0.05, no_check)
    assert time.monotonic() - begin >= 0.05

    def cancelled() -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        ear.await_quiet(60.0, cancelled)


def test_a_call_was_quiet_when_both_its_ends_were() -> None:
    answers = iter([True, True, True, False, False])
    waited: list[float] = []

    class Kernel:
        def run(self, placement: Any, timeout_s: float) -> float:
            return 7.0

        def close(self) -> None:
            raise AssertionError("nobody asked for that")

    def await_quiet(seconds: float) -> bool:
        waited.append(seconds)
        return next(answers)

    listener = Listener(Kernel(), await_quiet)
    listener.patience_s = 1.5
    heard = []
    for _ in range(3):
        assert listener.run(None, 1.0) == 7.0  # type: ignore[arg-type]
        heard.append(listener.quiet)
    assert heard == [True, False, False]
    assert waited == [1.5, 0.0, 1.5, 0.0, 1.5], "an end is not asked for where the begin was disturbed"


def test_a_figure_is_settled_when_two_quiet_passes_agree_on_the_best() -> None:
    passes = Passes()
    assert passes.add([(10.4, False), (10.0, True), (10.0, False)], 1e-6) == 10.0
    assert not passes.settled(2), "one call may have been disturbed in its middle"
    assert passes.settled(1)
    assert passes.add([(10.2, True), (10.1, True)], 3e-6) is None, "no better than what is known"
    assert passes.settled(2)
    assert passes.add([(8.0, False)], 2e-6) == 8.0
    assert not passes.settled(1), "something was faster"
    assert (passes.quiet, passes.error) == ([10.0, 10.1], 3e-6)


def test_a_disturbed_figure_is_not_called_quiet() -> None:
    assert is_quiet(0.01, 0) is True
    assert is_quiet(0.01, 1) is False
    assert is_quiet(None, 1) is False
    assert is_quiet(None, 0) is None


@pytest.mark.parametrize(
    ("groups", "files", "limited"),
    [
        ("0::/a/b\n", {"a/b/cpu.max": "max 100000", "a/cpu.max": "max 100000"}, False),
        ("0::/a/b\n", {"a/b/cpu.max": "max 100000", "a/cpu.max": "150000 100000"}, True),
        ("0::/\n", {"cpu.max": "50000 100000"}, True),  # as a container sees it
        ("3:cpuset:/\n1:cpu,cpuacct:/x\n0::/\n", {"cpu,cpuacct/x/cpu.cfs_quota_us": "-1"}, False),
        ("3:cpuset:/\n1:cpu,cpuacct:/x\n0::/\n", {"cpu,cpuacct/x/cpu.cfs_quota_us": "20000"}, True),
        ("", {}, False),
    ],
)
def test_a_quota_of_processor_time_is_seen(tmp_path: Path, groups: str, files: dict[str, str], limited: bool) -> None:
    for name, text in files.items():
        (tmp_path / "root" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "root" / name).write_text(f"{text}\n")
    (tmp_path / "own").write_text(groups)
    assert has_quota(tmp_path / "root", tmp_path / "own") is limited
    assert has_quota(tmp_path / "root", tmp_path / "missing") is False


def test_the_ear_itself_repeats_and_the_cores_sleep_again() -> None:
    hands = Hands(tools.hands(tools.find()))
    threads = len(os.sched_getaffinity(0))
    heard = [min(hands.pace(threads) for _ in range(300)) for _ in range(3)]
    assert 0.05 < min(heard) <= max(heard) < 2 * min(heard)
    before = tasks()
    hands.keep_awake(True)
    hands.keep_awake(True)
    assert tasks() == before + threads
    hands.keep_awake(False)
    hands.keep_awake(False)
    assert tasks() == before


@pytest.fixture
def told() -> Iterator[Callable[[float], Scorer]]:
    """A scorer whose memory of the best pace is a test's: after 0.001 no moment is quiet."""
    with tempfile.TemporaryDirectory(prefix="avo-tests-") as folder, contextlib.ExitStack() as ending:
        cache = Path(folder)
        cache.chmod(0o755)
        with_programs(cache)

        def scorer(pace: float) -> Scorer:
            (cache / f"pace-{tools.find(cache).key('pace')}").write_text(f"{pace}\n")
            made = Scorer({"AVO_CACHE": str(cache)})
            ending.callback(made.close)
            return made

        yield scorer


def test_patience_ends_where_no_moment_is_quiet_and_the_report_says_so(told: Callable[[float], Scorer]) -> None:
    scorer, asked = told(0.001), {"op": "score", "problem": SMALL, "source": KERNELS / "mha_cpu" / "seed"}
    patient = scorer.ask(**asked, patience_s=6.0)
    hasty = scorer.ask(**asked)
    for found in (hasty, patient):
        assert found["correct"], found
        assert found["integrity"]["quiet"] is False
    assert patient["seconds"] >= 6.0
    assert hasty["seconds"] < patient["seconds"]
    baseline = scorer.ask(op="baseline", problem=SMALL, patience_s=0.5)["torch_sdpa"]
    assert baseline["integrity"]["quiet"] is False
    assert baseline["seconds"] >= 0.5
