"""A candidate's failure: data with a stage and one line of reason, carried up the scorer as an exception.

It never leaves the scorer: evaluate.py and rounds.py turn it into a Score or an entry of `failures`. Our own failures
are ScorerError.
"""

from __future__ import annotations

from engine.record.frozen import dataclass
from engine.record.scores import Stage

CHECKS: dict[Stage, str] = {
    "ok": "",
    "build": "build",
    "check": "error",
    "integrity": "replies",
    "time": "time",
    "crash": "worker",
    "timeout": "time",
}


@dataclass(frozen=True, slots=True)
class Failure:
    """What went wrong, and in which configuration (None: before any)."""

    stage: Stage
    reason: str
    configuration: str | None = None
    relative_error: float | None = None
    check: str = ""
    """The name of the integrity check that it failed."""


class CandidateFailed(Exception):
    """Ends the work on one candidate; `failure` says why."""

    def __init__(self, failure: Failure, log: str = "") -> None:
        super().__init__(failure.reason)
        self.failure = failure
        self.log = log


class Cancelled(Exception):
    """The request was withdrawn while it ran."""


def fail(
    stage: Stage,
    reason: str,
    configuration: str | None = None,
    *,
    error: float | None = None,
    log: str = "",
    check: str = "",
) -> CandidateFailed:
    """The exception for one failure, ready to raise. `check` names what caught it, where the stage does not."""
    return CandidateFailed(Failure(stage, reason, configuration, error, check or CHECKS[stage]), log)
