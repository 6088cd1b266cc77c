"""Facts: flat names to figures, what operators decide by. Derived from the journal, never stored twice."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from engine.record import events as ev
from engine.record.reader import Reader, Version
from engine.record.scores import ConfigurationScore, Score, geomean

if TYPE_CHECKING:
    from engine.scorer.problem import Problem

PROFILES_READ = 50


def of_incumbent(reader: Reader, problem: Problem) -> Mapping[str, Any]:
    """The machine's facts (latest profile), the incumbent's own profile's, and those of its score."""
    incumbent = reader.incumbent()
    facts: dict[str, Any] = {}
    if incumbent is None:
        return facts
    sources = _source_hash(reader, incumbent)
    for entry in reader.tail(PROFILES_READ, kinds=("profile",)):
        profile = entry.event()
        if isinstance(profile, ev.Profiled):
            own = profile.source_hash == sources
            facts.update({k: v for k, v in profile.facts.items() if own or k.startswith("machine.")})
    return {**of_score(incumbent.score, problem), **facts}


def of_score(score: Score, problem: Problem) -> dict[str, Any]:
    """`score.geomean_tflops`, `score.causal_over_full` and `score.short_over_long`, where the vector allows."""
    shapes = {c.name: c for c in problem.configurations}
    measured = [(shapes[c.name], c) for c in score.configurations if c.name in shapes and c.tflops]
    facts: dict[str, Any] = {"score.geomean_tflops": score.geomean_tflops}
    causal = _mean([c for shape, c in measured if shape.causal])
    full = _mean([c for shape, c in measured if not shape.causal])
    if causal and full:
        facts["score.causal_over_full"] = causal / full
    lengths = [shape.seqlen for shape, _ in measured]
    if lengths and min(lengths) < max(lengths):
        short = _mean([c for shape, c in measured if shape.seqlen == min(lengths)])
        long = _mean([c for shape, c in measured if shape.seqlen == max(lengths)])
        if short and long:
            facts["score.short_over_long"] = short / long
    return {k: v for k, v in facts.items() if v is not None and math.isfinite(v)}


def _mean(scores: list[ConfigurationScore]) -> float | None:
    return geomean([c.tflops for c in scores])


def _source_hash(reader: Reader, version: Version) -> str:
    attempt = reader.attempt(version.attempt)
    return attempt.source_hash if attempt is not None else ""
