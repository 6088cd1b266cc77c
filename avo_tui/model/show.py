"""Figures for people: throughput, ratios, ages, money. Aligned, short, and never more precise than true."""

from __future__ import annotations

from collections.abc import Iterable

from engine.record.frozen import dataclass

_UNITS = ((1.0, "TFLOPS"), (1e-3, "GFLOPS"), (1e-6, "MFLOPS"))
_RAN = ("ok", "check", "time")  # stages that only a candidate reaches that was built


@dataclass(frozen=True, slots=True)
class Unit:
    """How a table of throughputs is written: all its figures share one unit and one number of decimals."""

    scale: float
    name: str
    decimals: int

    def text(self, tflops: float | None) -> str:
        """A figure without its unit; a dash when nothing was measured."""
        return "—" if tflops is None else f"{tflops / self.scale:.{self.decimals}f}"

    def full(self, tflops: float | None) -> str:
        """A figure with its unit."""
        return "—" if tflops is None else f"{self.text(tflops)} {self.name}"


def unit_for(values: Iterable[float | None]) -> Unit:
    """The unit in which the largest of `values` (TFLOPS) has one to four digits before the point."""
    top = max((v for v in values if v), default=1.0)
    scale, name = next(((s, n) for s, n in _UNITS if top >= s), _UNITS[-1])
    figure = top / scale
    return Unit(scale, name, 0 if figure >= 1000 else 1 if figure >= 100 else 2 if figure >= 10 else 3)


def ratio(value: float | None, digits: int = 2) -> str:
    """A ratio: `1.31×`."""
    return "—" if value is None else f"{value:.{digits}f}×"


def percent(fraction: float | None, digits: int = 1) -> str:
    """A signed change: `+4.2 %`."""
    if fraction is None:
        return "—"
    text = f"{fraction * 100:+.{digits}f} %"
    return text[1:] if not float(text[:-2]) else text


def age(seconds: float) -> str:
    """How long ago, coarse enough not to flicker: `now`, `12m`, `3h`, `2d`."""
    if seconds < 60:
        return "now"
    if seconds < 3600:
        return f"{int(seconds // 60)}m"
    if seconds < 86_400:
        return f"{int(seconds // 3600)}h"
    return f"{int(seconds // 86_400)}d"


def duration(seconds: float) -> str:
    """How long something took: `0.4s`, `12.3s`, `4m 05s`, `3h`, `3h 12m`, `2d 4h`."""
    seconds = max(seconds, 0.0)
    if seconds < 60:
        return f"{seconds:.1f}s"
    if seconds < 3600:
        return f"{int(seconds // 60)}m {int(seconds % 60):02d}s"
    if seconds < 86_400:
        minutes = int(seconds % 3600 // 60)
        return f"{int(seconds // 3600)}h {minutes:02d}m" if minutes else f"{int(seconds // 3600)}h"
    return f"{int(seconds // 86_400)}d {int(seconds % 86_400 // 3600)}h"


def phases(stage: str, build_s: float, all_s: float) -> list[str]:
    """How long an evaluation took: `build 1.9s`, `all 14.0s`. What ran without being built came from the cache."""
    built = [f"build {duration(build_s)}"] if build_s else ["build cached"] if stage in _RAN else []
    return [*built, f"all {duration(all_s)}"]


def ago(seconds: float) -> str:
    """The same in a sentence: `just now`, `12m ago`."""
    return "just now" if seconds < 60 else f"{age(seconds)} ago"


def span(seconds: float) -> str:
    """A heartbeat's age: seconds matter here."""
    return f"{int(seconds)}s" if seconds < 60 else age(seconds)


def elapsed(seconds: float) -> str:
    """A clock that does not flicker: seconds only within the first hour."""
    seconds = max(seconds, 0.0)
    return f"{int(seconds // 60)}m {int(seconds % 60):02d}s" if seconds < 3600 else duration(seconds)


def money(usd: float) -> str:
    """Dollars: `$0.42`, `$312`."""
    return f"${usd:.2f}" if usd < 100 else f"${usd:,.0f}"


def count(n: int, noun: str) -> str:
    """`1 version`, `15 versions`."""
    return f"{n:,} {noun}" + ("" if n == 1 else "s")


def tokens(n: int) -> str:
    """Tokens: `950`, `12.4k`, `3.1M`."""
    if n < 1000:
        return str(n)
    return f"{n / 1000:.1f}k" if n < 1_000_000 else f"{n / 1e6:.1f}M"
