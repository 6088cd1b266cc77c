"""What each version cost: model calls, tokens, money, attempts and time since the version before it.

One rule: every cost falls to the next version that was committed; what came after the last one is the open rest.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from engine.record import events as ev
from engine.record.reader import Entry, Reader

_KINDS = ("spent", "attempt", "version")


@dataclass(frozen=True, slots=True)
class Cost:
    """The cost of one version; of the work since the last one when `version` is None.

    `usd` covers calls with a known price only, `unpriced` counts the others. `percent` is the gain over the
    incumbent that it replaced, in percent, and None when the gate gave no ratio.
    """

    version: int | None
    seconds: float
    attempts: int
    calls: int
    tokens: int
    usd: float
    unpriced: int
    percent: float | None

    @property
    def usd_per_percent(self) -> float | None:
        """Money for each percent gained; None without a gain."""
        return self.usd / self.percent if self.percent and self.percent > 0 else None


@dataclass(slots=True)
class _Open:
    since: float
    attempts: int = 0
    calls: int = 0
    tokens: int = 0
    usd: float = 0.0
    unpriced: int = 0

    def close(self, version: int | None, at: float, percent: float | None) -> Cost:
        return Cost(version, at - self.since, self.attempts, self.calls, self.tokens, self.usd, self.unpriced, percent)


def costs(reader: Reader) -> tuple[Cost, ...]:
    """The cost of every version in the order they were committed, the seed left out, and of the open rest."""
    found: list[Cost] = []
    now: _Open | None = None
    last = 0.0
    for entry in _entries(reader):
        now = now or _Open(entry.at)
        last = entry.at
        if entry.kind == ev.AttemptScored.kind:  # counted only: an attempt's score and diff are long to decode
            now.attempts += 1
            continue
        fact = entry.event()
        if isinstance(fact, ev.Spent):
            _add(now, fact)
        elif isinstance(fact, ev.VersionCommitted):
            if fact.version > 0:
                percent = None if fact.ratio is None else (fact.ratio - 1) * 100
                found.append(now.close(fact.version, entry.at, percent))
            now = _Open(entry.at)
    if now is not None and (now.calls or now.attempts):
        found.append(now.close(None, last, None))
    return tuple(found)


def total_percent(parts: Sequence[Cost]) -> float:
    """The whole gain in percent: gains multiply."""
    gain = 1.0
    for part in parts:
        gain *= 1 + (part.percent or 0.0) / 100
    return (gain - 1) * 100


def _add(now: _Open, spent: ev.Spent) -> None:
    now.calls += 1
    now.tokens += spent.input_tokens + spent.output_tokens + spent.cache_read_tokens + spent.cache_write_tokens
    now.usd += spent.usd or 0.0
    now.unpriced += spent.usd is None


def _entries(reader: Reader) -> Iterator[Entry]:
    after = 0
    while page := reader.events(after, kinds=_KINDS):
        yield from page
        after = page[-1].seq
