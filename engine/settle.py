"""Settling a score: a version's recorded figures rest on its evaluations and its paired rounds together.

One rule: every figure is that of one process, a low quantile of calls that were each checked. One process alone can be
a fifth off by where its heap happens to lie; the gate has measured several by the time it commits. On a processor,
where noise only adds time, the best of them counts; on a GPU, whose clock moves both ways, their median.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from statistics import median, stdev

from engine.gate import CANDIDATE, Round
from engine.record.scores import ConfigurationScore, Score, geomean


def settled(
    score: Score, names: Sequence[str], rounds: Sequence[Round], flops: Mapping[str, float], device: str
) -> Score:
    """`score` with each latency replaced by the best of it and the rounds' ("cuda": the median).

    `names` are the rounds' columns, and `flops` the work of each configuration.
    """
    of = median if device == "cuda" else min
    columns = {name: [r.latency_us[CANDIDATE][i] for r in rounds] for i, name in enumerate(names)}
    rows = tuple(_row(c, columns.get(c.name, []), flops.get(c.name), of) for c in score.configurations)
    return replace(score, configurations=rows, geomean_tflops=geomean([c.tflops for c in rows]))


def best_of(score: Score, again: Score) -> Score:
    """`score` with each entry replaced by that of a later evaluation where that was faster, and with its report."""
    later = {c.name: c for c in again.configurations}
    rows = tuple(min(c, later.get(c.name, c), key=_latency) for c in score.configurations)
    tflops = geomean([c.tflops for c in rows])
    return replace(score, configurations=rows, geomean_tflops=tflops, integrity=again.integrity)


def _latency(row: ConfigurationScore) -> float:
    return row.latency_us or math.inf


def _row(
    row: ConfigurationScore, more: Sequence[float | None], flops: float | None, of: Callable[[list[float]], float]
) -> ConfigurationScore:
    figures = [us for us in (row.latency_us, *more) if us]
    if flops is None or len(figures) < 2:
        return row
    latency = of(figures)
    # Of a slow kernel the score times one call, which has no spread; the figures of several processes have one.
    spread = row.tflops_std if row.tflops_std is not None else stdev(flops / (us * 1e6) for us in figures)
    return replace(row, latency_us=latency, tflops=flops / (latency * 1e6), tflops_std=spread)
