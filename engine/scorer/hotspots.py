"""Where a candidate's time goes: samples laid over its loops, its functions and the libraries it calls.

One rule: samples decide which loop is hot. Without them the order is a guess from the listing, and is called one.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence

from engine.record.frozen import dataclass
from engine.scorer.assembly import Listing, Loop
from engine.scorer.counters import Place

LEAST_SAMPLES = 50
LEAST_SHARE = 0.01
LISTED_SHARE = 0.08
LOOPS_SHOWN = (60, 40, 24)
_OWN = re.compile(r"candidate(-[0-9a-f]+)?\.so")  # the library's names: in the sandbox, and in the cache
LIBRARIES = {
    "libm": "exp and other functions of the mathematics library",
    "libmvec": "vector exp and other functions of the mathematics library",
    "libgomp": "OpenMP: threads that wait for work or for each other",
    "libomp": "OpenMP: threads that wait for work or for each other",
    "libc": "memory: allocation, copying, filling",
}


@dataclass(frozen=True, slots=True)
class Spot:
    """One place and its share of the samples (None when there are none); `loop` when it is one of the listing's."""

    name: str
    share: float | None
    loop: Loop | None = None
    beside: tuple[tuple[int, float], ...] = ()

    def lines(self, most: int = 4) -> list[str]:
        """The source lines it was made from, those with most samples (else most instructions) first."""
        if self.loop is None:
            return []
        sampled = dict(self.beside)
        weights: dict[str, tuple[float, int]] = {}
        for i in self.loop.body:
            if i.source:
                share, count = weights.get(i.source, (0.0, 0))
                weights[i.source] = (share + sampled.get(i.address, 0.0), count + 1)
        return sorted(weights, key=lambda source: weights[source], reverse=True)[:most]


def spots(listing: Listing, places: Sequence[Place]) -> list[Spot]:
    """Loops, functions and libraries, hottest first. With too few samples: the loops, in the listing's own order.

    With an empty listing the candidate's own code is one place.
    """
    if len(places) < LEAST_SAMPLES:
        return [Spot(loop.name, None, loop) for loop in listing.loops]
    inside: dict[int, Counter[int]] = {}
    elsewhere: Counter[str] = Counter()
    for place in places:
        if not _OWN.fullmatch(place.file):
            elsewhere[_library(place.file)] += 1
            continue
        at = next((n for n, loop in enumerate(listing.loops) if loop.holds(place.address)), None)
        if at is None:
            name = listing.function(place.address)
            unlisted = "jumps into libraries" if listing.functions else "the candidate's own code"
            elsewhere[f"{name}, outside its innermost loops" if name else unlisted] += 1
        else:
            inside.setdefault(at, Counter())[place.address] += 1
    total = len(places)
    found = [_loop_spot(listing.loops[at], hits, total) for at, hits in inside.items()]
    found += [Spot(name, hits / total) for name, hits in elsewhere.items()]
    return sorted(found, key=lambda spot: -(spot.share or 0.0))


def hottest(found: Sequence[Spot]) -> Spot | None:
    """The loop that matters most."""
    return next((spot for spot in found if spot.loop is not None), None)


def shown_loops(found: Sequence[Spot]) -> list[Spot]:
    """The few loops whose code is worth reading."""
    loops = [spot for spot in found if spot.loop is not None]
    return [s for n, s in enumerate(loops) if n == 0 or s.share is None or s.share >= LISTED_SHARE][: len(LOOPS_SHOWN)]


def source_lines(found: Sequence[Spot]) -> dict[str, bool]:
    """The source lines of the loops shown, and whether their code is packed."""
    loops = [(spot, spot.loop) for spot in shown_loops(found) if spot.loop is not None]
    return {line: loop.vector_bits > 32 for spot, loop in loops for line in spot.lines()}


def text(found: Sequence[Spot], samples: int, clock: str, unsampled: str) -> list[str]:
    """Lines for reading: the shares, then the hottest loops' code with the share of each instruction."""
    loops = shown_loops(found)
    if found and found[0].share is not None:
        lines = [f"where the time goes ({samples} samples of {clock}, the candidate's own code and what it calls)"]
        shown = [spot for spot in found if (spot.share or 0.0) >= LEAST_SHARE]
        lines += [f"{spot.share:>7.1%}  {_row(spot, loops)}" for spot in shown]
    else:
        why = unsampled or f"only {samples} samples"
        guess = "; the loops below are in order of their arithmetic, a guess" if loops else ""
        lines = [f"where the time goes: not sampled ({why}){guess}"]
    for number, (spot, limit) in enumerate(zip(loops, LOOPS_SHOWN, strict=False), 1):
        lines += ["", *_listing(number, spot, limit)]
    return lines


def _loop_spot(loop: Loop, hits: Counter[int], total: int) -> Spot:
    shares = tuple((address, count / total) for address, count in sorted(hits.items()))
    return Spot(loop.name, hits.total() / total, loop, shares)


def _library(file: str) -> str:
    if not file:
        return "code outside any file"
    meaning = LIBRARIES.get(file.partition(".")[0])
    return f"{file} ({meaning})" if meaning else file


def _row(spot: Spot, loops: Sequence[Spot]) -> str:
    if spot.loop is None:
        return spot.name
    number = next((f"loop {n}" for n, other in enumerate(loops, 1) if other is spot), "loop")
    return f"{number}: {_described(spot)}"


def _described(spot: Spot) -> str:
    loop = spot.loop
    assert loop is not None
    where = _grouped(spot.lines())
    kind = f"{loop.vector_bits}-bit" if loop.vector_bits > 32 else "scalar"
    spilled = f", stack moves {loop.spills}" if loop.spills else ""
    return (
        f"{loop.name}{f' ({where})' if where else ''}: {len(loop.body)} instructions, {kind}, "
        f"{loop.fma_share:.0%} of the arithmetic fused{spilled}"
    )


def _grouped(lines: Sequence[str]) -> str:
    """ "attention.cpp:104,33" out of places in the same file."""
    files: dict[str, list[str]] = {}
    for line in lines:
        file, _, number = line.rpartition(":")
        files.setdefault(file, []).append(number)
    return " ".join(f"{file}:{','.join(numbers)}" for file, numbers in files.items())


def _listing(number: int, spot: Spot, limit: int) -> list[str]:
    assert spot.loop is not None
    share = f", {spot.share:.1%} of the time" if spot.share is not None else ""
    beside = {address: f"{part:.1%}" for address, part in spot.beside if part >= LEAST_SHARE / 2}
    return [f"loop {number}{share}: {_described(spot)}", spot.loop.text(limit, beside)]
