"""Evaluate one candidate: intake, build, check, time, and one Score of it.

One rule: all or nothing. The first failed check ends the work, and no configuration keeps a figure
(paper, section 3.1).
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from engine.record.scores import ConfigurationScore, Score, geomean
from engine.scorer import intake, integrity
from engine.scorer.bench import Bench, Emit, Options, Tally
from engine.scorer.build import Built, build
from engine.scorer.failure import CandidateFailed, Failure
from engine.scorer.intake import Candidate
from engine.scorer.listener import Listener
from engine.scorer.problem import Configuration, Problem, Suite
from engine.scorer.quiet import Watch
from engine.scorer.timing import Passes, Timing, summarise
from engine.scorer.worker import Runs

_RANDOM = random.SystemRandom()
# Calls whose rows are all checked, drawn by lot; of the others a sample of every head is.
FULL_CHECKS = 1 / 40
# How long a new moment of quiet may take between the calls of one pass.
BREATH_S = 0.05


def score(bench: Bench, source: Path, options: Options, emit: Emit, *, with_baselines: bool) -> Score:
    """One candidate's score vector; its failures are in it, ours are raised as ScorerError."""
    begin, tally, watch = time.monotonic(), Tally(), Watch()
    candidate: Candidate | None = None
    built: Built | None = None
    timings: dict[str, tuple[Timing, float]] = {}
    failure, log = None, ""
    try:
        candidate = intake.take(source, bench.judge.problem)
        built = _build(bench, candidate, options, emit)
        timings = _measure(bench, lambda: bench.device.start(built, bench.children), options, emit, tally)
    except CandidateFailed as failed:
        failure, log = failed.failure, failed.log
    seconds, share = time.monotonic() - begin, watch.others_share()
    measured = baseline_scores(bench, options, emit) if with_baselines and failure is None else {}
    return Score(
        problem=bench.judge.problem.name,
        correct=failure is None,
        stage=failure.stage if failure else "ok",
        reason=_reason(failure),
        device=bench.device.label(),
        seconds=seconds,
        configurations=_entries(options.configurations, timings, failure),
        geomean_tflops=None if failure else geomean([t.tflops for t, _ in timings.values()]),
        source_hash=candidate.hash if candidate else "",
        suite=options.suite,
        integrity=integrity.report(
            bench,
            tally,
            candidate=candidate,
            timings=[t for t, _ in timings.values()],
            failure=failure,
            others_share=share,
        ),
        build_seconds=built.seconds if built else 0.0,
        candidate_seconds=tally.candidate_s,
        log=log or (built.log if built else ""),
        baselines=measured,
    )


def baseline_scores(bench: Bench, options: Options, emit: Emit) -> dict[str, tuple[ConfigurationScore, ...]]:
    """Every baseline of the problem over the same configurations, measured now."""
    scores = {}
    for name in bench.judge.baselines():
        tally = Tally()
        timings = _measure(bench, lambda n=name: bench.device.baseline(n), options, emit, tally, name)  # type: ignore[misc]
        scores[name] = _entries(options.configurations, timings, None)
    return scores


def baseline_score(bench: Bench, name: str, options: Options, emit: Emit) -> Score:
    """One baseline as a Score of its own."""
    begin, tally, watch = time.monotonic(), Tally(), Watch()
    timings = _measure(bench, lambda: bench.device.baseline(name), options, emit, tally, name)
    return Score(
        problem=bench.judge.problem.name,
        correct=True,
        stage="ok",
        reason="",
        device=bench.device.label(),
        seconds=time.monotonic() - begin,
        configurations=_entries(options.configurations, timings, None),
        geomean_tflops=geomean([t.tflops for t, _ in timings.values()]),
        suite=options.suite,
        candidate_seconds=tally.candidate_s,
        integrity=integrity.report(
            bench, tally, timings=[t for t, _ in timings.values()], others_share=watch.others_share()
        ),
    )


def _build(bench: Bench, candidate: Candidate, options: Options, emit: Emit) -> Built:
    emit({"event": "progress", "phase": "build", "configuration": None, "done": 0, "of": 1, "text": "compiling"})
    built = build(
        candidate,
        bench.judge.problem,
        bench.device.toolchain,
        bench.children,
        timeout_s=options.build_timeout_s,
        heard=lambda text: emit({"event": "output", "text": text}),
    )
    if built.cached and built.log.strip():
        emit({"event": "output", "text": built.log})
    text = "from the cache" if built.cached else f"built in {built.seconds:.2f} s"
    emit({"event": "progress", "phase": "build", "configuration": None, "done": 1, "of": 1, "text": text})
    return built


def _measure(
    bench: Bench,
    starts: Callable[[], Runs],
    options: Options,
    emit: Emit,
    tally: Tally,
    who: str = "",
) -> dict[str, tuple[Timing, float]]:
    """Check and time each configuration, in passes of one fresh worker each. Returns timing and worst error by name."""
    plan, shapes, begin = bench.device.evaluating, options.configurations, time.monotonic()
    young, end = begin + max(plan.seconds, options.patience_s), begin + options.patience_s
    found = {shape.name: Passes() for shape in shapes}
    # A baseline is trusted, and need not serve shapes that nobody times.
    extra = {} if who else _scattered(bench.judge.problem.holdouts, shapes)

    def one_pass(
        some: Sequence[Configuration], patience_s: float = 0.0, extra: Mapping[str, list[Configuration]] | None = None
    ) -> None:
        _pass(bench, starts, options, emit, tally, who, found, some, patience_s, extra)

    def unsettled() -> list[Configuration]:
        return [s for s in shapes if not found[s.name].settled(min(2, plan.passes))]

    one_pass(shapes, extra=extra)
    for _ in range(plan.passes - 1):
        if time.monotonic() < young:
            one_pass(shapes)
    for shape in _in_turn(unsettled):
        if (left := end - time.monotonic()) <= 0:
            break
        one_pass([shape], left)
    tally.disturbed = sum(not f.quiet for f in found.values())
    return {s.name: (summarise(s, found[s.name].calls), found[s.name].error) for s in shapes}


def _in_turn(left: Callable[[], list[Configuration]]) -> Iterator[Configuration]:
    """Round and round through what is left, asked anew for each round."""
    while shapes := left():
        yield from shapes


def _pass(
    bench: Bench,
    starts: Callable[[], Runs],
    options: Options,
    emit: Emit,
    tally: Tally,
    who: str,
    found: dict[str, Passes],
    shapes: Sequence[Configuration],
    patience_s: float,
    extra: Mapping[str, list[Configuration]] | None,
) -> None:
    """Each of `shapes` for a moment, with one worker. The first pass, which has `extra`, checks the most."""
    listener = Listener(starts(), lambda seconds: bench.device.await_quiet(seconds, bench.children.check))
    try:
        for done, shape in enumerate(shapes):
            event = {"event": "progress", "configuration": shape.name, "done": done, "of": len(shapes)}
            if extra is not None:
                emit({**event, "phase": "check", "text": who})
            hidden = None if extra is None else extra.get(shape.name, [])
            listener.patience_s = patience_s
            calls, error = _one(bench, listener, shape, options, tally, hidden)
            best = found[shape.name].add(calls, error)
            text = f"{who} {shape.flops / (best * 1e3):.1f} GFLOPS".strip() if best else ""
            emit({**event, "phase": "time", "done": done + 1, "text": text})
    finally:
        listener.close()


def _scattered(holdouts: Sequence[Configuration], shapes: Sequence[Configuration]) -> dict[str, list[Configuration]]:
    """Each hold-out shape at a configuration drawn by lot, among whose timed calls it will hide."""
    extra: dict[str, list[Configuration]] = {}
    for holdout in holdouts:
        extra.setdefault(_RANDOM.choice(shapes).name, []).append(vary(holdout))
    return extra


def vary(holdout: Configuration) -> Configuration:
    """A hold-out shape with its length and mask drawn anew, so that its list tells nobody what will be asked."""
    seqlen = holdout.seqlen - _RANDOM.randrange(holdout.seqlen // 8 + 1)
    causal = _RANDOM.random() < 0.5
    name = f"hold-out (batch {holdout.batch}, seqlen {seqlen}, heads {holdout.heads_q}/{holdout.heads_kv}"
    return replace(holdout, name=f"{name}, {'causal' if causal else 'full'})", seqlen=seqlen, causal=causal)


def _one(
    bench: Bench,
    worker: Listener,
    shape: Configuration,
    options: Options,
    tally: Tally,
    extra: list[Configuration] | None,
) -> tuple[list[tuple[float, bool]], float]:
    """One configuration's calls in a row: the time of each and whether it was quiet, and the largest error.

    In a first pass the hold-outs given to it hide at random places in between, and one call, drawn by lot once it is
    known how many there are, has all its rows checked. A later pass, which a candidate cannot tell from a first one,
    checks a sample of each call's rows, and all of some.
    """
    plan, drawn = bench.device.evaluating, -1

    def draw(first_us: float) -> bool:
        nonlocal drawn
        if extra is None:
            return _RANDOM.random() < FULL_CHECKS
        drawn = _RANDOM.randrange(plan.more_calls(first_us) + 1)
        return drawn == 0

    first, error = bench.call(worker, shape, options, tally, full=draw)
    more = plan.more_calls(first)
    times = [] if more else [(first, worker.quiet)]
    calls = [(shape, number + 1 == drawn) for number in range(more)] + [(holdout, True) for holdout in extra or ()]
    _RANDOM.shuffle(calls)
    worker.patience_s = min(worker.patience_s, BREATH_S)
    for asked, full in calls:
        latency, seen = bench.call(worker, asked, options, tally, full=full or (extra is None and draw(first)))
        if not asked.holdout:
            times.append((latency, worker.quiet))
            error = max(error, seen)
    return times, error


def _entries(
    shapes: Sequence[Configuration], timings: dict[str, tuple[Timing, float]], failure: Failure | None
) -> tuple[ConfigurationScore, ...]:
    if failure is None:
        return tuple(
            ConfigurationScore(s.name, True, t.tflops, t.tflops_std, t.latency_us, error)
            for s in shapes
            for t, error in [timings[s.name]]
        )
    return tuple(_failed_entry(s.name, timings, failure) for s in shapes)


def _failed_entry(name: str, timings: dict[str, tuple[Timing, float]], failure: Failure) -> ConfigurationScore:
    if name == failure.configuration:
        return ConfigurationScore(name, False, relative_error=failure.relative_error, reason=failure.reason)
    if name in timings:
        return ConfigurationScore(
            name, True, relative_error=timings[name][1], reason="not counted: another check failed"
        )
    return ConfigurationScore(name, False, reason="not reached")


def _reason(failure: Failure | None) -> str:
    if failure is None:
        return ""
    return f"{failure.configuration}: {failure.reason}" if failure.configuration else failure.reason


def options(problem: Problem, suite: Suite, names: Sequence[str] | None, **more: Any) -> Options:
    """Options for a suite, or for the named configurations of it."""
    chosen = problem.suite(suite) if names is None else problem.select(names)
    return Options(configurations=chosen, suite=suite if names is None else "some", **more)
