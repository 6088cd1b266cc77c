"""Paired rounds: several candidates measured against each other in fresh processes, interleaved.

One rule: within a round every source runs every configuration in an order that mirrors itself (A B C, C B A), and
the order turns from round to round, so a drift of the machine falls on all alike.
Every call is checked, as in an evaluation.
"""

from __future__ import annotations

import random
import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from engine.record.frozen import dataclass
from engine.scorer import baselines, intake
from engine.scorer.bench import Bench, Emit, Options, Tally
from engine.scorer.build import Built, build
from engine.scorer.failure import CandidateFailed, Failure
from engine.scorer.measurement import FULL_CHECKS, vary
from engine.scorer.problem import Configuration
from engine.scorer.sensors import Reading, columns
from engine.scorer.timing import quantile
from engine.scorer.worker import Runs

_RANDOM = random.SystemRandom()


@dataclass(frozen=True, slots=True)
class Round:
    """One round: the order of the sources, latency per source and configuration, and who failed.

    `sensors` has clock_mhz, power_w and temperature_c as they were after each configuration; empty without sensors.
    """

    order: tuple[int, ...]
    latency_us: tuple[tuple[float | None, ...], ...]
    failures: tuple[Failure | None, ...]
    seconds: float
    sensors: dict[str, list[float | None]]

    def to_json(self) -> dict[str, Any]:
        """A plain JSON value."""
        return asdict(self)


def rounds(
    bench: Bench, sources: Sequence[str], options: Options, emit: Emit, *, count: int, first: int
) -> dict[str, Any]:
    """Build every source once, then measure `count` rounds, the first of which has index `first`."""
    built, broken = _build_all(bench, sources, options)
    found: list[Round] = []
    for index in range(first, first + count):
        found.append(_round(bench, sources, built, broken, options, index))
        emit(
            {
                "event": "progress",
                "phase": "time",
                "configuration": None,
                "done": index - first + 1,
                "of": count,
                "text": "",
            }
        )
        if any(found[-1].failures):
            break
    return {
        "sources": list(sources),
        "configurations": [c.name for c in options.configurations],
        "rounds": [r.to_json() for r in found],
        "integrity": {"tier": bench.children.sandbox.tier, "unsafe": bench.children.sandbox.unsafe},
    }


def _build_all(
    bench: Bench, sources: Sequence[str], options: Options
) -> tuple[list[Built | None], list[Failure | None]]:
    built: list[Built | None] = []
    broken: list[Failure | None] = []
    for source in sources:
        try:
            built.append(None if source.startswith(baselines.PREFIX) else _build(bench, Path(source), options))
            broken.append(None)
        except CandidateFailed as failed:
            built.append(None)
            broken.append(failed.failure)
    return built, broken


def _build(bench: Bench, source: Path, options: Options) -> Built:
    candidate = intake.take(source, bench.judge.problem)
    return build(
        candidate, bench.judge.problem, bench.device.toolchain, bench.children, timeout_s=options.build_timeout_s
    )


def _round(
    bench: Bench,
    sources: Sequence[str],
    built: Sequence[Built | None],
    broken: Sequence[Failure | None],
    options: Options,
    index: int,
) -> Round:
    begin, failures = time.monotonic(), list(broken)
    order = _order(len(sources), index)
    workers: dict[int, Runs] = {}
    latencies: list[list[float | None]] = [[] for _ in sources]
    readings: list[Reading | None] = []
    try:
        for at in order:
            _guarded(failures, at, lambda at=at: workers.update({at: _worker(bench, sources[at], built[at])}))
        holdouts = bench.judge.problem.holdouts
        hidden_at = _RANDOM.randrange(len(options.configurations))
        for number, shape in enumerate(options.configurations):
            if holdouts and number == hidden_at:
                _hidden(bench, sources, workers, vary(_RANDOM.choice(holdouts)), options, failures)
            times = _block(bench, workers, order, shape, options, failures)
            readings.append(bench.device.sensors())
            for at in range(len(sources)):
                latencies[at].append(quantile(times[at]) if times.get(at) and failures[at] is None else None)
    finally:
        for worker in workers.values():
            worker.close()
    seconds = time.monotonic() - begin
    return Round(order, tuple(tuple(row) for row in latencies), tuple(failures), seconds, columns(readings))


def _hidden(
    bench: Bench,
    sources: Sequence[str],
    workers: dict[int, Runs],
    shape: Configuration,
    options: Options,
    failures: list[Failure | None],
) -> None:
    """One shape that is checked and not timed, for every candidate; baselines need not serve it."""
    for at, source in enumerate(sources):
        if not source.startswith(baselines.PREFIX):
            _call(bench, workers, at, shape, options, failures)


def _order(sources: int, index: int) -> tuple[int, ...]:
    """0 1 2 in even rounds, 2 1 0 in odd ones, turned by one every two rounds."""
    turned = [(i + index // 2) % sources for i in range(sources)]
    return tuple(turned if index % 2 == 0 else reversed(turned))


def _worker(bench: Bench, source: str, built: Built | None) -> Runs:
    if source.startswith(baselines.PREFIX):
        return bench.device.baseline(source.removeprefix(baselines.PREFIX))
    assert built is not None
    return bench.device.start(built, bench.children)


def _block(
    bench: Bench,
    workers: dict[int, Runs],
    order: Sequence[int],
    shape: Configuration,
    options: Options,
    failures: list[Failure | None],
) -> dict[int, list[float]]:
    """One configuration: each source there and back, after one call to warm up; each turn may begin with a rest.

    Of a slow one the first call is the way there.
    """
    times: dict[int, list[float]] = {}
    left: dict[int, tuple[int, int]] = {}
    for at in order:
        _rest(bench, options.rest_s)
        first = _call(bench, workers, at, shape, options, failures)
        if first is not None:
            left[at] = bench.device.pairing.in_a_half(first)
            times[at] = [first] if left[at][0] == 0 else []
    for way, half in enumerate((order, tuple(reversed(order)))):
        for at in half:
            share = left[at][way] if at in left else 0
            if share:
                _rest(bench, options.rest_s)
            for _ in range(share):
                latency = _call(bench, workers, at, shape, options, failures)
                if latency is not None:
                    times[at].append(latency)
    return times


def _rest(bench: Bench, seconds: float) -> None:
    """Let the device cool and its clock rise. A cancel ends the rest."""
    end = time.monotonic() + seconds
    while (left := end - time.monotonic()) > 0:
        bench.children.check()
        time.sleep(min(left, 0.1))


def _call(
    bench: Bench,
    workers: dict[int, Runs],
    at: int,
    shape: Configuration,
    options: Options,
    failures: list[Failure | None],
) -> float | None:
    result: list[float] = []

    def ask() -> None:
        full = shape.holdout or _RANDOM.random() < FULL_CHECKS
        result.append(bench.call(workers[at], shape, options, Tally(), full=full)[0])

    if failures[at] is None:
        _guarded(failures, at, ask)
    return result[0] if result else None


def _guarded(failures: list[Failure | None], at: int, action: Any) -> None:
    if failures[at] is not None:
        return
    try:
        action()
    except CandidateFailed as failed:
        failures[at] = failed.failure
