"""The bench: one device, its judge and its children, and the one way in which a candidate is ever called.

One rule: evaluations, paired rounds and profiles all ask through `Bench.call`, so that no figure comes from a call
that was not checked.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from engine.scorer.children import Children
from engine.scorer.device import Device, Judges
from engine.scorer.failure import fail
from engine.scorer.problem import Configuration
from engine.scorer.worker import Runs

if TYPE_CHECKING:
    from engine.scorer.judge import Full

Emit = Callable[[dict[str, Any]], None]
SMALLEST_FLOPS = 1e7


@dataclass(frozen=True, slots=True)
class Recorded:
    """Latencies in microseconds by configuration that were recorded of a candidate on this device.

    They are met within `patience_s`, or not. An empty `source_hash` is that of whatever candidate is asked for.
    """

    latency_us: Mapping[str, float]
    source_hash: str = ""
    patience_s: float = 0.0


@dataclass(frozen=True, slots=True)
class Options:
    """How one request wants its work done."""

    configurations: tuple[Configuration, ...]
    suite: str
    build_timeout_s: float = 120.0
    call_timeout_s: float = 60.0
    unsafe: bool = False
    patience_s: float = 0.0
    """How long an evaluation goes on with passes that do not agree."""
    recorded: Recorded | None = None
    """What the candidate's figures shall agree with."""
    rest_s: float = 0.0
    """How long a device rests before each source's turn in a round: figures of a rested device, not of a hot one."""


@dataclass(slots=True)
class Tally:
    """What was seen while one candidate was judged: counts, and the worst of each margin."""

    calls: int = 0
    rows: int = 0
    holdouts: int = 0
    worst_error: float = 0.0
    candidate_s: float = 0.0
    physics: float = 0.0
    disturbed: int = 0
    """In how many configurations somebody else worked on the device's cores during most passes."""


@dataclass(frozen=True, slots=True)
class Bench:
    """Everything an evaluation needs that outlives it."""

    device: Device
    children: Children

    @property
    def judge(self) -> Judges:
        """Who draws the inputs, holds the clock and checks the outputs."""
        return self.device.judge

    def call(
        self, worker: Runs, shape: Configuration, options: Options, tally: Tally, *, full: Full = False
    ) -> tuple[float, float]:
        """One checked call: (microseconds, relative error). Raises CandidateFailed, or Cancelled."""
        self.children.check()
        call = self.judge.call(worker, shape, timeout_s=options.call_timeout_s, full=full)
        tally.calls += 1
        tally.holdouts += shape.holdout
        tally.rows += call.rows
        tally.worst_error = max(tally.worst_error, call.error)
        tally.candidate_s += call.latency_us / 1e6
        self._possible(shape, call.latency_us, tally)
        return call.latency_us, call.error

    def _possible(self, shape: Configuration, latency_us: float, tally: Tally) -> None:
        """Nothing computes faster than the device's arithmetic: only the pairs that the mask leaves are counted."""
        limit = self.device.limit_gflops
        if limit is None or shape.unmasked_flops < SMALLEST_FLOPS:
            return
        gflops = shape.unmasked_flops / (latency_us * 1e3)
        tally.physics = max(tally.physics, gflops / limit)
        if gflops > limit:
            reason = f"{gflops:.0f} GFLOPS of needed work is beyond what this device can do ({limit:.0f})"
            raise fail("integrity", reason, shape.name, check="physics")
