"""The budget: how long the run has worked, what its limits are, and when one is reached.

One rule: pauses and the time between an engine's end and the next one's start cost nothing. Time is
the monotonic clock's, so neither a changed clock nor a sleeping machine uses the budget up; and what an engine
did not live through, because it was stopped (SIGSTOP, a frozen container), is given back.
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, fields, replace
from typing import Any

from engine.record.config import Limits
from engine.record.errors import Refused
from engine.record.frozen import dataclass
from engine.record.reader import Reader

WARN_AT = (0.67, 0.9)
_WHOLE = frozenset({"versions", "tokens", "attempts"})


class Stopwatch:
    """Running time in seconds, across pauses and restarts. Begins stopped."""

    def __init__(self, so_far_s: float = 0.0, clock: Callable[[], float] = time.monotonic) -> None:
        self._so_far, self._clock = so_far_s, clock
        self._since: float | None = None

    def go(self) -> None:
        """Count from now on."""
        if self._since is None:
            self._since = self._clock()

    def hold(self) -> None:
        """Stop counting."""
        self._so_far, self._since = self.elapsed_s, None

    def give_back(self, seconds: float) -> None:
        """Take back time that passed while nothing could happen, as far as it was counted at all."""
        if self._since is not None:
            self._since = min(self._clock(), self._since + seconds)

    @property
    def elapsed_s(self) -> float:
        """The time counted so far."""
        return self._so_far + (0.0 if self._since is None else self._clock() - self._since)


@dataclass(frozen=True, slots=True)
class Usage:
    """What the run has used of each thing that a limit can name."""

    versions: int
    minutes: float
    usd: float
    tokens: int
    attempts: int


def usage(reader: Reader, elapsed_s: float) -> Usage:
    """The run's use so far. The seed counts neither as a version nor as an attempt."""
    versions, attempts = reader.counts()
    spend = reader.spend()
    tokens = spend.input_tokens + spend.output_tokens + spend.cache_read_tokens + spend.cache_write_tokens
    return Usage(max(0, versions - 1), elapsed_s / 60, spend.usd, tokens, max(0, attempts - 1))


def reached(limits: Limits, used: Usage) -> str | None:
    """The first limit that is used up, in words; None while there is budget left."""
    for name, limit, amount in _pairs(limits, used):
        if amount >= limit:
            return f"the limit of {_amount(name, limit)} is reached"
    return None


def warnings(limits: Limits, used: Usage) -> list[str]:
    """Sentences about limits that are nearly used up; each changes when the next mark is passed."""
    found: list[str] = []
    for name, limit, amount in _pairs(limits, used):
        passed = [mark for mark in WARN_AT if mark <= amount / limit < 1]
        if passed and name != "versions":
            found.append(f"{passed[-1]:.0%} of the limit of {_amount(name, limit)} is used")
    return found


def minutes_left(limits: Limits, elapsed_s: float) -> float:
    """Minutes until the time limit; infinite without one."""
    return math.inf if limits.minutes is None else max(0.0, limits.minutes - elapsed_s / 60)


def current(config: Limits, stored: str | None) -> Limits:
    """The limits in force: the configuration's, unless a command changed them (the journal's meta `limits`)."""
    return config if not stored else Limits(**json.loads(stored))


def changed(limits: Limits, arguments: Mapping[str, Any]) -> Limits:
    """Limits after a `limits` command. None removes one. Refuses unknown names and impossible values."""
    names = [f.name for f in fields(Limits)]
    if not arguments:
        raise Refused(f"no limit was named; there are: {', '.join(names)}")
    for name, value in arguments.items():
        if name not in names:
            raise Refused(f"unknown limit {name!r}; there are: {', '.join(names)}")
        if value is not None and not _possible(name, value):
            kind = "a whole number" if name in _WHOLE else "a number"
            raise Refused(f"limit {name} = {value!r} is not {kind} above zero")
    return replace(limits, **arguments)


def stored(limits: Limits) -> str:
    """Limits as the journal's meta keeps them."""
    return json.dumps(asdict(limits))


def _possible(name: str, value: Any) -> bool:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return False
    if name in _WHOLE and not isinstance(value, int):
        return False
    return math.isfinite(value) and value > 0


def _pairs(limits: Limits, used: Usage) -> list[tuple[str, float, float]]:
    names = [f.name for f in fields(Limits) if getattr(limits, f.name) is not None]
    return [(name, float(getattr(limits, name)), float(getattr(used, name))) for name in names]


def _amount(name: str, limit: float) -> str:
    return f"${limit:g}" if name == "usd" else f"{limit:,.10g} {name if limit != 1 else name.removesuffix('s')}"
