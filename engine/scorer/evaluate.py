"""Evaluate one candidate: intake, build, check, time, and one Score of it.

One rule: all or nothing. The first failed check ends the work, and no configuration keeps a figure
(paper, section 3.1).
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from engine.record.scores import ConfigurationScore, Score, geomean
from engine.scorer import intake, integrity
from engine.scorer.bench import Bench, Emit, Options, Tally
from engine.scorer.build import Built, build
from engine.scorer.failure import CandidateFailed, Failure
from engine.scorer.importing import TORCH
from engine.scorer.intake import Candidate
from engine.scorer.measurement import measure
from engine.scorer.problem import Configuration, Problem, Suite
from engine.scorer.quiet import Watch
from engine.scorer.timing import Timing


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
        asked = _options_for(options, candidate)
        TORCH.settle()
        timings = measure(bench, lambda: bench.device.start(built, bench.children), asked, emit, tally)
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
        timings = _baseline(bench, name, options, emit, tally)
        scores[name] = _entries(options.configurations, timings, None)
    return scores


def baseline_score(bench: Bench, name: str, options: Options, emit: Emit) -> Score:
    """One baseline as a Score of its own."""
    begin, tally, watch = time.monotonic(), Tally(), Watch()
    timings = _baseline(bench, name, options, emit, tally)
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


def _options_for(options: Options, candidate: Candidate) -> Options:
    """The options, without a record that is another candidate's and with the patience for one that is this one's."""
    recorded = options.recorded
    if recorded is None or recorded.source_hash not in ("", candidate.hash):
        return replace(options, recorded=None)
    return replace(options, patience_s=recorded.patience_s)


def _baseline(bench: Bench, name: str, options: Options, emit: Emit, tally: Tally) -> dict[str, tuple[Timing, float]]:
    return measure(bench, lambda: bench.device.baseline(name), options, emit, tally, name)


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
