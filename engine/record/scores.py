"""Scores: what the scorer says of one candidate, one entry per configuration.

A score vector is all or nothing: one failed check and no configuration keeps a
figure (paper, section 3.1). Absence is None with a reason, never a sentinel.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, field
from typing import Any, Literal

from engine.record.frozen import dataclass

# What a version's score is called beside its sources, in the lineage and in an export.
SCORE_FILE = "score.json"
Stage = Literal["ok", "build", "check", "integrity", "time", "crash", "timeout"]


@dataclass(frozen=True, slots=True)
class ConfigurationScore:
    """One configuration's outcome.

    `latency_us` is the low quantile (0.2) of processes, each worth that of its timed calls (on a GPU the median one of
    a version's processes), and `tflops` the work over it. `tflops_std` is the spread of the single calls; where one
    call was timed, that of the gate's rounds, None without any. All are None when nothing was measured.
    `relative_error` is the largest row-relative L2 error against the float64 reference.
    """

    name: str
    correct: bool
    tflops: float | None = None
    tflops_std: float | None = None
    latency_us: float | None = None
    relative_error: float | None = None
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Check:
    """One integrity check that ran. `margin` is a fraction of what is allowed (1.0 = at the limit)."""

    name: str
    passed: bool
    margin: float | None = None
    detail: str = ""


@dataclass(frozen=True, slots=True)
class Integrity:
    """Which checks stand behind a score, with what margin, and under which sandbox."""

    tier: str = ""
    checks: tuple[Check, ...] = ()
    calls: int = 0
    noise: float | None = None
    quiet: bool | None = None
    unsafe: bool = False


@dataclass(frozen=True, slots=True)
class Score:
    """A score vector with its reason. The JSON of `avo score` is `to_json()` of this, extended."""

    problem: str
    correct: bool
    stage: Stage
    reason: str
    device: str
    seconds: float
    configurations: tuple[ConfigurationScore, ...] = ()
    geomean_tflops: float | None = None
    source_hash: str = ""
    suite: str = "full"
    integrity: Integrity = field(default_factory=Integrity)
    build_seconds: float = 0.0
    candidate_seconds: float = 0.0
    log: str = ""
    baselines: Mapping[str, tuple[ConfigurationScore, ...]] = field(default_factory=dict)

    def of(self, configuration: str) -> ConfigurationScore | None:
        """This vector's entry for one configuration, or None."""
        return next((c for c in self.configurations if c.name == configuration), None)

    def to_json(self) -> dict[str, Any]:
        """A plain JSON value holding every field."""
        return asdict(self)

    @staticmethod
    def from_json(value: Mapping[str, Any]) -> Score:
        """The inverse of `to_json`; keys that this version does not know are ignored."""
        integrity = value.get("integrity") or {}
        checks = tuple(Check(**_known(Check, c)) for c in integrity.get("checks", ()))
        known = _known(Score, value)
        known["configurations"] = _configurations(value.get("configurations", ()))
        known["integrity"] = Integrity(**{**_known(Integrity, integrity), "checks": checks})
        known["baselines"] = {k: _configurations(v) for k, v in (value.get("baselines") or {}).items()}
        return Score(**known)


def _configurations(values: Sequence[Mapping[str, Any]]) -> tuple[ConfigurationScore, ...]:
    return tuple(ConfigurationScore(**_known(ConfigurationScore, v)) for v in values)


def _known(cls: type, value: Mapping[str, Any]) -> dict[str, Any]:
    names = cls.__dataclass_fields__  # type: ignore[attr-defined]
    return {k: v for k, v in value.items() if k in names}


def unit_of(values: Iterable[float | None]) -> tuple[float, str]:
    """The unit to write throughputs in (TFLOPS each; None counts nothing), as (TFLOPS in one unit, its name).

    What computes on a processor and what computes on a GPU lie on either side of 1 TFLOPS, so a problem keeps its unit.
    """
    return (1.0, "TFLOPS") if max((v for v in values if v), default=1.0) >= 1 else (1e-3, "GFLOPS")


def throughput(tflops: float | None) -> str:
    """One throughput for people, in four digits with its unit; "none" when there is none."""
    if not tflops:
        return "none"
    scale, name = unit_of([tflops])
    figure = tflops / scale
    return f"{figure:,.0f} {name}" if figure >= 1000 else f"{figure:.4g} {name}"


def geomean(values: Sequence[float | None]) -> float | None:
    """Geometric mean, or None when the vector is empty or any entry is missing or not positive."""
    if not values or any(v is None or v <= 0 for v in values):
        return None
    return math.exp(sum(math.log(v) for v in values if v) / len(values))
