"""A busy machine: who is heard, what is remembered of quiet, and how long an evaluation goes on for its figures."""

import contextlib
import itertools
import math
import os
import tempfile
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from served import HERE, KERNELS, SMALL, Scorer, with_programs

from engine.scorer import evaluate, serve
from engine.scorer import toolchain as tools
from engine.scorer.bench import Options, Recorded, Tally
from engine.scorer.hands import Hands
from engine.scorer.intake import Candidate
from engine.scorer.measurement import measure
from engine.scorer.problem import load
from engine.scorer.quiet import FORGETTING, Listening, Neighbours, is_quiet
from engine.scorer.timing import EVALUATE, Passes, Timing, agree, repeat, summarise


class Paced(Hands):
    """The judge's own library, whose ear hears what a test says: no test can put a neighbour on the other half of a core."""

    def __init__(self, *paces: float) -> None:
        super().__init__(tools.hands(tools.find()))
        self.paces = itertools.chain(paces[:-1], itertools.repeat(paces[-1]))

    def pace(self, threads: int) -> float:
        return next(self.paces)


def test_a_neighbour_is_heard_by_a_pace_a_fifth_above_the_best(tmp_path: Path) -> None:
    ear = Neighbours(Paced(0.29, 0.30, 0.35, 0.37, 0.285, 0.28, 0.352, 0.34, 0.0), 2, tmp_path / "pace")
    heard = [ear.busy() for _ in range(7)]
    assert heard == [False, False, True, False, True, False, False], "0: nothing was heard"
    assert (tmp_path / "pace").read_text() == "0.285000\n"


def test_one_pace_that_is_too_good_is_not_believed(tmp_path: Path) -> None:
    """As where the multiplications alone were held up."""
    ear = Neighbours(Paced(0.30, 0.30, 0.15, 0.31, 0.35), 2, tmp_path / "pace")
    assert [ear.busy() for _ in range(3)] == [False, False, False]
    assert (tmp_path / "pace").read_text() == "0.300000\n"


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


def test_a_call_was_quiet_when_both_its_ends_were() -> None:
    disturbed = iter([False, False, False, True, True])

    class Kernel:
        def run(self, placement: Any, timeout_s: float) -> float:
            return 7.0

        def close(self) -> None:
            raise AssertionError("nobody asked for that")

    listening, heard = Listening(Kernel(), lambda: next(disturbed)), []
    for _ in range(3):
        assert listening.run(None, 1.0) == 7.0  # type: ignore[arg-type]
        heard.append(listening.quiet)
    assert heard == [True, False, False]
    assert next(disturbed, None) is None, "an end is not listened to where the begin was disturbed"


def test_a_figure_is_the_low_end_of_its_passes_and_had_company_when_most_of_them_did() -> None:
    passes = Passes()
    passes.add([(10.0, False), (20.0, False)], 1e-6)
    assert (passes.figures, passes.disturbed) == ([12.0], True)
    passes.add([(11.0, True)], 3e-6)
    assert (passes.figures, passes.disturbed, passes.error) == ([12.0, 11.0], False, 3e-6)
    passes.add([(13.0, False)], 2e-6)
    assert passes.disturbed
    latest = passes.last(2)
    assert (latest.figures, latest.disturbed, latest.error) == ([11.0, 13.0], False, 3e-6)
    assert passes.last(4).figures == passes.figures
    shape = load(KERNELS / "mha_cpu").select(["full_256"])[0]
    found = summarise(shape, passes.calls)
    assert (found.latency_us, found.calls) == (pytest.approx(11.4), 4)
    assert found.tflops == pytest.approx(shape.flops / 11.4e6)


def test_figures_agree_with_a_record_in_the_geomean_and_passes_with_each_other() -> None:
    assert agree([[100.0, 120.0], [50.0]], [104.0, 50.0])
    assert agree([[110.0], [91.0]], [100.0, 100.0]), "one faster, one slower"
    assert not agree([[106.0]], [100.0])
    assert not agree([[94.0]], [100.0]), "a record that was disturbed does not agree either"
    assert repeat([[100.0, 101.0, 99.5], [10.0, 10.1, 10.0]])
    assert not repeat([[100.0, 101.0], [10.0, 10.1]]), "two passes may share one bad moment"
    assert not repeat([[100.0, 130.0, 100.0]])
    assert repeat([[100.0, 103.0] * 5])


def test_a_disturbed_figure_is_not_called_quiet() -> None:
    assert is_quiet(0.01, 0) is True
    assert is_quiet(0.01, 1) is False
    assert is_quiet(None, 1) is False
    assert is_quiet(None, 0) is None


def test_the_ear_itself_repeats() -> None:
    hands = Hands(tools.hands(tools.find()))
    threads = len(os.sched_getaffinity(0))
    heard = [min(hands.pace(threads) for _ in range(300)) for _ in range(3)]
    assert 0.05 < min(heard) <= max(heard) < 2 * min(heard)


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


def test_where_no_moment_is_quiet_the_report_says_so(told: Callable[[float], Scorer]) -> None:
    scorer = told(0.001)
    found = scorer.ask(op="score", problem=SMALL, source=KERNELS / "mha_cpu" / "seed")
    assert found["correct"], found
    assert found["integrity"]["quiet"] is False
    baseline = scorer.ask(op="baseline", problem=SMALL)["torch_sdpa"]
    assert baseline["integrity"]["quiet"] is False


def test_patience_ends_when_the_record_is_met_and_otherwise_with_the_time(
    scorer: Scorer, candidate: Callable[[str], Path]
) -> None:
    """A quick kernel that sleeps in each call takes as long on a busy machine as on a quiet one."""
    text = (HERE / "honest" / "tiled.cpp").read_text()
    at = text.index("{", text.index('extern "C" void attention_forward(')) + 1
    sleeper = candidate(f"#include <unistd.h>\n{text[:at]}\n    usleep(600000);{text[at:]}")

    def seconds(latencies: dict[str, float], patience_s: float) -> float:
        recorded = {"device": plain["device"], "latency_us": latencies, "patience_s": patience_s}
        found = scorer.ask(op="score", **asked, recorded=recorded)
        assert found["correct"], found
        return float(found["seconds"])

    asked = {"problem": SMALL, "source": sleeper, "configurations": ["full_128"]}
    # A call that a busy machine held up is no record to meet again: the quickest of three.
    plain = min((scorer.ask(op="score", **asked) for _ in range(3)), key=lambda s: s["configurations"][0]["latency_us"])
    latencies = {c["name"]: c["latency_us"] for c in plain["configurations"]}
    assert seconds(latencies, 40.0) < 35.0
    assert 2.0 <= seconds({name: us / 100 for name, us in latencies.items()}, 3.0) < 15.0


def test_what_stands_against_a_record_are_the_latest_passes_and_without_agreement_all_count() -> None:
    shape = load(KERNELS / "mha_cpu").select(["full_256"])[0]

    def found(passes: Iterable[float], recorded_us: float, patience_s: float) -> Timing:
        """What is reported when each pass has one call that takes the next of these times."""
        times = iter(passes)
        bench: Any = SimpleNamespace(
            device=SimpleNamespace(evaluating=EVALUATE, disturbed=lambda: True),
            judge=SimpleNamespace(problem=SimpleNamespace(holdouts=())),
            call=lambda *_, **__: (next(times), 1e-7),
        )
        worker: Any = SimpleNamespace(close=lambda: None)
        recorded = Recorded({shape.name: recorded_us})
        options = Options((shape,), "full", patience_s=patience_s, recorded=recorded)
        return measure(bench, lambda: worker, options, lambda event: None, Tally())[shape.name][0]

    bad_then_good = [1.5e5, 1.5e5, 1.0e5, 1.0e5]
    assert (met := found(bad_then_good, 1.0e5, 60.0)).latency_us == 1.0e5
    assert met.calls == 2
    assert found(reversed(bad_then_good), 1.5e5, 60.0).latency_us == 1.5e5, "one good moment long ago is no obstacle"
    never = found(itertools.cycle(bad_then_good), 2.0e5, 0.1)
    assert never.latency_us == pytest.approx(1.0e5)
    assert never.calls > 4


def test_a_record_of_another_device_or_of_other_sources_is_none() -> None:
    bench: Any = SimpleNamespace(device=SimpleNamespace(label=lambda: "here"))
    said = {"device": "here", "source_hash": "abc", "latency_us": {"a": 5, "b": None}, "patience_s": 30}
    recorded = serve._recorded(bench, said)
    assert recorded == Recorded({"a": 5.0}, "abc", 30.0)
    assert serve._recorded(bench, {**said, "device": "there"}) is None
    assert serve._recorded(bench, {}) is None
    options = Options((), "full", patience_s=10.0, recorded=recorded)
    own, other = (Candidate({}, (), hash_) for hash_ in ("abc", "abd"))
    assert evaluate._options_for(options, own).patience_s == 30.0
    assert evaluate._options_for(options, other) == replace(options, recorded=None)
