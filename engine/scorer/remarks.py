"""What the compiler says of its own work on a candidate: vectorisation, line by line, with its reasons.

One rule: a line of the source is told once, whatever the number of times the compiler came back to it; lines that run
hot come first, and how many were left out is said.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping

from engine.record.frozen import dataclass

# Line numbers change no code (gcc.gnu.org/onlinedocs/gcc/Debugging-Options: -g; GCC tests it with -fcompare-debug).
GCC = ("-g1", "-fopt-info-vec-optimized", "-fopt-info-vec-missed")
CLANG = ("-g1", "-Rpass=loop-vectorize", "-Rpass-missed=loop-vectorize", "-Rpass-analysis=loop-vectorize")
SHOWN = 14
_REMARK = re.compile(r"^(\S+?):(\d+):\d+: (optimized|missed|remark): +(.*?)(?: \[-Rpass.*\])?$")
_DONE = re.compile(r"vectorized using|^vectorized loop")
_BLUNT = ("couldn't vectorize loop", "loop not vectorized")
# GCC says these of every loop that holds a call or was written in vectors by hand: true, and of no use.
_IDLE = ("statement clobbers memory", "no vectype for stmt")


@dataclass(frozen=True, slots=True)
class Remark:
    """One source line: what was vectorised there ("" for nothing), whether something was not, and why if it says."""

    file: str
    line: int
    done: str
    missed: bool
    reason: str

    @property
    def place(self) -> str:
        """file:line, as a listing names it."""
        return f"{self.file}:{self.line}"


def flags(compiler: str) -> tuple[str, ...]:
    """What makes this compiler tell; `compiler` is what it calls itself."""
    return CLANG if "clang" in compiler else GCC


class Sieve:
    """Parts what a compiler says from its remarks; called with whole lines as they come, returns the rest of them.

    A line that begins with a blank belongs to the one before it.
    """

    def __init__(self) -> None:
        self._kept: list[str] = []
        self._remarking = False

    def __call__(self, text: str) -> str:
        """What is not a remark."""
        rest: list[str] = []
        for line in text.splitlines(keepends=True):
            if not line.startswith((" ", "\t")):
                self._remarking = _REMARK.match(line) is not None
            (self._kept if self._remarking else rest).append(line)
        return "".join(rest)

    @property
    def remarks(self) -> str:
        """All that was held back."""
        return "".join(self._kept)


def read(log: str, own: Collection[str]) -> list[Remark]:
    """The remarks on the candidate's own files, by line."""
    said: dict[tuple[str, int], list[str]] = {}
    for text in log.splitlines():
        if not (found := _REMARK.match(text)) or found[1] not in own:
            continue
        word = found[4].strip().removeprefix("not vectorized: ").rstrip(".;")
        words = said.setdefault((found[1], int(found[2])), [])
        if not word.startswith(_IDLE) and word not in words:
            words.append(word)
    return [_remark(file, line, words) for (file, line), words in sorted(said.items()) if words]


def text(remarks: list[Remark], hot: Mapping[str, bool]) -> list[str]:
    """Lines for reading. `hot`: the source lines ("file:line") of the hottest loops, and whether their code is packed.

    A loop that is vectors already (written so by hand) is refused without a reason, which says nothing about it.
    """
    telling = [r for r in remarks if r.done or r.reason or not hot.get(r.place, True)]
    if not remarks:
        return ["the compiler said nothing about vectorisation"]
    shown = sorted(telling, key=lambda r: (r.place not in hot, not r.reason))[:SHOWN]
    done = sum(bool(r.done) for r in remarks)
    left = f"; {len(remarks) - len(shown)} more in the log" if len(remarks) > len(shown) else ""
    head = f"the compiler's remarks on vectorisation ({done} of {len(remarks)} lines vectorised{left})"
    return [head, *(_line(remark, remark.place in hot) for remark in shown)]


def _line(remark: Remark, hot: bool) -> str:
    missed = f"NOT: {remark.reason or 'no reason given'}" if remark.missed else ""
    return f"{'hot' if hot else '':<5}{remark.place:<22}{'; '.join(x for x in (remark.done, missed) if x)}"


def _remark(file: str, line: int, words: list[str]) -> Remark:
    done = [w for w in words if _DONE.search(w)]
    refused = [w for w in words if w not in done and "versioned" not in w]
    reasons = [w for w in refused if not w.startswith(_BLUNT)]
    return Remark(file, line, _widths(done), bool(reasons or (refused and not done)), "; ".join(reasons[:2]))


def _widths(done: list[str]) -> str:
    """ "64 and 32 byte vectors" out of GCC's sentences; other compilers' words as they are."""
    sizes = sorted({int(n) for w in done for n in re.findall(r"using (\d+) byte vectors", w)}, reverse=True)
    if sizes:
        return f"vectorised, {' and '.join(map(str, sizes))} byte vectors"
    return "; ".join(done[:2])
