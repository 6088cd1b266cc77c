"""Evaluate one candidate: intake, build, check, time, and one Score of it.

One rule: all or nothing. The first failed check ends the work, and no configuration keeps a figure
(paper, section 3.1).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from engine.record.scores import Check, ConfigurationScore, Integrity, Score, geomean
from engine.scorer import intake
from engine.scorer.build import Built, build
from engine.scorer.children import Children
from engine.scorer.device import Device, Judges
from engine.scorer.failure import CandidateFailed, Failure
from engine.scorer.intake import Candidate
from engine.scorer.problem import Configuration, Problem, Suite
from engine.scorer.timing import Timing, summarise
from engine.scorer.worker import Runs

Emit = Callable[[dict[str, Any]], None]


@dataclass(frozen=True, slots=True)
class Bench:
    """Everything an evaluation needs that outlives it."""

    device: Device
    children: Children

    @property
    def judge(self) -> Judges:
        """Who draws the inputs, holds the clock and checks the outputs."""
        return self.device.judge


@dataclass(frozen=True, slots=True)
class Options:
    """How one request wants its work done."""

    configurations: tuple[Configuration, ...]
    suite: str
    build_timeout_s: float = 120.0
    call_timeout_s: float = 60.0
    unsafe: bool = False


@dataclass(slots=True)
class Tally:
    """What was seen while one candidate was judged."""

    calls: int = 0
    rows: int = 0
    worst_error: float = 0.0
    candidate_s: float = 0.0


def score(bench: Bench, source: Path, options: Options, emit: Emit, *, with_baselines: bool) -> Score:
    """One candidate's score vector; its failures are in it, ours are raised as ScorerError."""
    begin, tally = time.monotonic(), Tally()
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
    measured = baseline_scores(bench, options, emit) if with_baselines and failure is None else {}
    return Score(
        problem=bench.judge.problem.name,
        correct=failure is None,
        stage=failure.stage if failure else "ok",
        reason=_reason(failure),
        device=bench.device.label(),
        seconds=time.monotonic() - begin,
        configurations=_entries(options.configurations, timings, failure),
        geomean_tflops=None if failure else geomean([t.tflops for t, _ in timings.values()]),
        source_hash=candidate.hash if candidate else "",
        suite=options.suite,
        integrity=integrity(bench, tally, timings, failure, unsafe=options.unsafe),
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
    begin, tally = time.monotonic(), Tally()
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
        integrity=integrity(bench, tally, timings, None, unsafe=options.unsafe),
    )


def _build(bench: Bench, candidate: Candidate, options: Options, emit: Emit) -> Built:
    emit({"event": "progress", "phase": "build", "configuration": None, "done": 0, "of": 1, "text": "compiling"})
    built = build(
        candidate, bench.judge.problem, bench.device.toolchain, bench.children, timeout_s=options.build_timeout_s
    )
    if built.log.strip():
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
    """Check, then time, each configuration with one worker. Returns timing and worst error by name."""
    worker = starts()
    timings: dict[str, tuple[Timing, float]] = {}
    try:
        for done, shape in enumerate(options.configurations):
            event = {"event": "progress", "configuration": shape.name, "done": done, "of": len(options.configurations)}
            emit({**event, "phase": "check", "text": who})
            timings[shape.name] = _one(bench, worker, shape, options, tally)
            text = f"{who} {timings[shape.name][0].tflops * 1e3:.1f} GFLOPS".strip()
            emit({**event, "phase": "time", "done": done + 1, "text": text})
        # A baseline is trusted, and need not serve shapes that nobody times.
        for shape in () if who else bench.judge.problem.holdouts:
            _called(bench, worker, shape, options, tally, full=True)
    finally:
        worker.close()
    return timings


def _one(bench: Bench, worker: Runs, shape: Configuration, options: Options, tally: Tally) -> tuple[Timing, float]:
    first, error = _called(bench, worker, shape, options, tally, full=True)
    times = [first]
    if more := bench.device.evaluating.more_calls(first):
        times = []
        for _ in range(more):
            latency, seen = _called(bench, worker, shape, options, tally)
            times.append(latency)
            error = max(error, seen)
    return summarise(shape, times), error


def _called(
    bench: Bench, worker: Runs, shape: Configuration, options: Options, tally: Tally, *, full: bool = False
) -> tuple[float, float]:
    bench.children.check()
    call = bench.judge.call(worker, shape, timeout_s=options.call_timeout_s, full=full)
    tally.calls += 1
    tally.rows += call.rows
    tally.worst_error = max(tally.worst_error, call.error)
    tally.candidate_s += call.latency_us / 1e6
    return call.latency_us, call.error


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


def integrity(
    bench: Bench,
    tally: Tally,
    timings: dict[str, tuple[Timing, float]],
    failure: Failure | None,
    *,
    unsafe: bool,
) -> Integrity:
    """Which checks stand behind the figures, with their margins."""
    error = tally.worst_error / bench.judge.problem.tolerance
    checks = [Check("error", failure is None or failure.stage != "check", error, f"{tally.rows} rows against float64")]
    spreads = [t.spread for t, _ in timings.values() if t.spread is not None]
    return Integrity(
        tier="none",
        checks=tuple(checks),
        calls=tally.calls,
        noise=max(spreads) if spreads else None,
        quiet=None,
        unsafe=unsafe,
    )


def options(problem: Problem, suite: Suite, names: Sequence[str] | None, **more: Any) -> Options:
    """Options for a suite, or for the named configurations of it."""
    chosen = problem.suite(suite) if names is None else problem.select(names)
    return Options(configurations=chosen, suite=suite if names is None else "some", **more)
