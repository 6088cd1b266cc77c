"""Settling a score: a version's recorded figures rest on its evaluations and its paired rounds together.

One rule: every figure is that of one process, a low quantile of calls that were each checked. One process alone can be
a fifth off by where its heap happens to lie; the gate has measured several by the time it commits. On a processor,
where noise only adds time, their low quantile counts, as in an evaluation, which stands for the passes that it makes:
of two evaluations that disagree the slower one does not pull. On a GPU, whose clock moves both ways, it is the median.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from statistics import median, stdev

from engine.gate import CANDIDATE, Round
from engine.record.scores import ConfigurationScore, Score, geomean
from engine.scorer.timing import EVALUATE, quantile


def settled(
    score: Score,
    names: Sequence[str],
    rounds: Sequence[Round],
    flops: Mapping[str, float],
    device: str,
    again: Score | None = None,
) -> Score:
    """`score` with each latency replaced by the low quantile of it, the rounds' and `again`'s ("cuda": the median).

    `names` are the rounds' columns, `flops` the work of each configuration, and `again` is a later evaluation, whose
    report counts.
    """
    of, passes = (median, 1) if device == "cuda" else (quantile, EVALUATE.passes)
    columns = {name: [r.latency_us[CANDIDATE][i] for r in rounds] for i, name in enumerate(names)}
    evaluated = {name: [c.latency_us] for name, c in _by_name(score).items()}
    for name, c in _by_name(again).items():
        evaluated.setdefault(name, []).append(c.latency_us)
    rows = tuple(
        _row(c, evaluated[c.name] * passes + columns.get(c.name, []), flops.get(c.name), of)
        for c in score.configurations
    )
    mean = score.geomean_tflops if rows == score.configurations else geomean([c.tflops for c in rows])
    integrity = again.integrity if again else score.integrity
    return replace(score, configurations=rows, geomean_tflops=mean, integrity=integrity)


def _by_name(score: Score | None) -> dict[str, ConfigurationScore]:
    return {c.name: c for c in score.configurations} if score else {}


def _row(
    row: ConfigurationScore, values: Sequence[float | None], flops: float | None, of: Callable[[list[float]], float]
) -> ConfigurationScore:
    figures = [us for us in values if us]
    if flops is None or len(set(figures)) < 2:
        return row
    latency = of(figures)
    # Of a slow kernel the score times one call, which has no spread; the figures of several processes have one.
    spread = row.tflops_std if row.tflops_std is not None else stdev(flops / (us * 1e6) for us in set(figures))
    return replace(row, latency_us=latency, tflops=flops / (latency * 1e6), tflops_std=spread)
