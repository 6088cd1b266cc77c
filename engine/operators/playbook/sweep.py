"""The parameter search around the incumbent, once the catalogue is exhausted. Pure.

Moves are ordered by how many parameters change, then by what single moves taught. The space is the product of
the ranges; the search ends when every combination of it was tried on this incumbent's code.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import combinations, product

from engine.operators.playbook.edits import Edit, Set, file_of, parameters
from engine.operators.playbook.memory import Trial
from engine.record.frozen import dataclass

PREFIX = "tune:"
UNKNOWN = 0.99  # the ratio expected of a move that nobody tried: slightly worse than what is there
_MOVE = re.compile(r"(k[A-Z]\w*)=([^,;\s]+)")

Ranges = Mapping[str, Sequence[str]]


@dataclass(frozen=True, slots=True)
class Move:
    """New values for some parameters, the rest as they are."""

    settings: tuple[tuple[str, str], ...]

    @property
    def id(self) -> str:
        """The direction's id in the journal."""
        return PREFIX + ",".join(f"{name}={value}" for name, value in self.settings)

    @property
    def title(self) -> str:
        """As a person reads it."""
        return "parameters " + ", ".join(f"{name} = {value}" for name, value in self.settings)


def proposals(sources: Mapping[str, str], ranges: Ranges, trials: Sequence[Trial], tried: Tried) -> Iterator[Move]:
    """Every move whose sources were never tried, the most promising first."""
    now = parameters(sources)
    known = {name: [v for v in ranges[name] if v != now[name]] for name in sorted(ranges) if name in now}
    for order in range(1, len(known) + 1):
        for move in _singly(known, now, ranges, trials) if order == 1 else _best_first(known, order, trials):
            if not tried(move):
                yield move


Tried = Callable[[Move], bool]


def edits_of(sources: Mapping[str, str], move: Move) -> list[Edit] | str:
    """The move as edits, or which parameter the sources do not have."""
    found: list[Edit] = []
    for name, value in move.settings:
        file = file_of(sources, name)
        if file is None:
            return name
        found.append(Set(file, name, value))
    return found


def settings_of(direction: str) -> dict[str, str]:
    """The settings that a sweep's direction id names."""
    return dict(_MOVE.findall(direction)) if direction.startswith(PREFIX) else {}


def _moves(known: Mapping[str, Sequence[str]], order: int) -> Iterator[Move]:
    for names in combinations(known, order):
        for values in product(*(known[name] for name in names)):
            yield Move(tuple(zip(names, values, strict=True)))


def _singly(
    known: Mapping[str, Sequence[str]], now: Mapping[str, str], ranges: Ranges, trials: Sequence[Trial]
) -> Iterator[Move]:
    """Single moves: the parameters that paid lately first, small steps before large ones."""
    yield from sorted(_moves(known, 1), key=lambda m: (-_promise(m, trials), _distance(m, now, ranges)))


def _best_first(known: Mapping[str, Sequence[str]], order: int, trials: Sequence[Trial]) -> Iterator[Move]:
    """Combinations of the values that did best alone; values are ranked, so that the first product is the best."""
    single = _singles(trials)
    ranked = {n: sorted(vs, key=lambda v, n=n: -single.get((n, v), UNKNOWN)) for n, vs in known.items()}  # type: ignore[misc]
    names = sorted(ranked, key=lambda n: -max((single.get((n, v), UNKNOWN) for v in ranked[n]), default=0.0))
    yield from _moves({n: ranked[n] for n in names}, order)


def _promise(move: Move, trials: Sequence[Trial]) -> float:
    """Expected ratio: a parameter that lately paid is worth another step; one that hurt is not."""
    name = move.settings[0][0]
    ratios = [t.ratio or t.seen or 0.0 for t in trials if name in settings_of(t.direction)]
    return max(ratios[-3:], default=UNKNOWN)


def _singles(trials: Sequence[Trial]) -> dict[tuple[str, str], float]:
    found: dict[tuple[str, str], float] = {}
    for trial in trials:
        settings = settings_of(trial.direction)
        if len(settings) == 1:
            found[next(iter(settings.items()))] = trial.ratio or trial.seen or 0.0
    return found


def _distance(move: Move, now: Mapping[str, str], ranges: Ranges) -> int:
    """How many steps of the range lie between the value now and the new one."""
    name, value = move.settings[0]
    values = list(ranges[name])
    return abs(values.index(value) - values.index(now[name])) if now[name] in values else len(values)
