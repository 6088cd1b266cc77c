"""The matrix loops of a CUDA candidate's machine code, told by the order of what matters in them.

One rule: it reads and does not time. A loop is a backward branch; those that hold matrix instructions and no smaller
such loop are where an attention kernel spends its time, and in them the order of waits and exponentials decides.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence

from engine.record.frozen import dataclass
from engine.scorer.cuda.code import short_name

LOOPS_SHOWN = 4
STEPS_SHOWN = 60
MATRIX = ("HGMMA", "HMMA", "QGMMA", "UTCHMMA", "UTCQMMA")
# What a reader looks for, by the beginning of its SASS name, and what it is called here.
LANDMARKS = (
    *((name, name) for name in MATRIX),
    ("WARPGROUP.ARRIVE", "arrive"),
    ("WARPGROUP.DEPBAR", "WAIT"),
    ("MUFU.EX2", "exp2"),
    ("F2FP", "pack"),
    ("SYNCS", "mbarrier"),
    ("UTMALDG", "TMA load"),
    ("UTMASTG", "TMA store"),
    ("LDGSTS", "async copy"),
    ("LDSM", "ldmatrix"),
    ("BAR", "barrier"),
    ("STL", "SPILL"),
    ("LDL", "SPILL"),
)
SOFT = frozenset({"exp2", "pack", "ldmatrix", "SPILL"})
_FUNCTION = re.compile(r"^\s*Function : (\S+)")
_LINE = re.compile(r"^\s+/\*([0-9a-f]{4,})\*/\s+(?:@!?U?P(?:\d+|T)\s+)?([A-Z][A-Z0-9_.]*)\s*([^;]*);")
_BYTES = 16  # of one instruction, since Volta


@dataclass(frozen=True, slots=True)
class MatrixLoop:
    """One loop: the kernel it is in and its instructions' names in order, with operands for waits."""

    kernel: str
    body: tuple[str, ...]

    @property
    def matrix(self) -> int:
        """Matrix instructions in it."""
        return sum(name.startswith(MATRIX) for name in self.body)

    def order(self) -> list[str]:
        """Its landmarks in order; what comes many times in between (exponentials, packing) is counted."""
        steps: list[tuple[str, int]] = []
        between: Counter[str] = Counter()
        for word in filter(None, map(_landmark, self.body)):
            if word in SOFT:
                between[word] += 1
            elif steps and steps[-1][0] == word and not between - Counter(ldmatrix=between["ldmatrix"]):
                steps[-1] = (word, steps[-1][1] + 1)
            else:
                steps += [(_counted(between), 1)] * bool(between)
                between = Counter()
                steps.append((word, 1))
        steps += [(_counted(between), 1)] * bool(between)
        return [f"{word} x{n}" if n > 1 else word for word, n in steps]


def matrix_loops(sass: str) -> list[MatrixLoop]:
    """The innermost loops with matrix instructions, most of them first."""
    found = [loop for kernel, lines in _functions(sass) for loop in _loops(kernel, lines)]
    return sorted(found, key=lambda loop: -loop.matrix)


def loops_text(loops: Sequence[MatrixLoop]) -> list[str]:
    """Lines for reading: each loop's size, what it is made of, and its landmarks in order."""
    if not loops:
        return ["no loop with matrix instructions in the machine code"]
    left = f" (of {len(loops)}, those with most matrix instructions)" if len(loops) > LOOPS_SHOWN else ""
    lines = [f"innermost loops with matrix instructions{left}, in the order of their machine code"]
    for loop in loops[:LOOPS_SHOWN]:
        counts = Counter(word for word in map(_landmark, loop.body) if word)
        made_of = _counted(dict(counts.most_common()))
        size = f"{len(loop.body)} instructions, {len(loop.body) * _BYTES / 1024:.1f} KiB"
        lines += ["", f"{short_name(loop.kernel)}: {size}: {made_of}", *_wrapped(loop.order())]
    return lines


def _counted(words: Mapping[str, int]) -> str:
    return ", ".join(f"{n} {word}" for word, n in words.items())


def _wrapped(steps: Sequence[str], width: int = 100) -> list[str]:
    lines = [""]
    for step in steps[:STEPS_SHOWN]:
        if len(lines[-1]) + len(step) > width:
            lines.append("")
        lines[-1] += f" | {step}" if lines[-1] else step
    left = len(steps) - STEPS_SHOWN
    return [f"    {line}" for line in [*lines, *([f"… {left} more"] if left > 0 else [])]]


def _landmark(name: str) -> str:
    word = next((word for begins, word in LANDMARKS if name.startswith(begins)), "")
    pending = name.partition(", ")[2].strip()
    return f"{word} until {int(pending, 16)} left" if word == "WAIT" and pending.startswith("0x") else word


def _functions(sass: str) -> list[tuple[str, list[tuple[int, str, str]]]]:
    found: list[tuple[str, list[tuple[int, str, str]]]] = []
    for text in sass.splitlines():
        if function := _FUNCTION.match(text):
            found.append((function[1], []))
        elif (line := _LINE.match(text)) and found:
            found[-1][1].append((int(line[1], 16), line[2], line[3].strip()))
    return found


def _loops(kernel: str, lines: Sequence[tuple[int, str, str]]) -> list[MatrixLoop]:
    """Backward branches of the kernel's main text: what ptxas puts behind the last exit only waits and jumps back."""
    matrix = [at for at, name, _ in lines if name.startswith(MATRIX)]
    end = max((at for at, name, _ in lines if name.startswith("EXIT")), default=lines[-1][0] if lines else 0)
    spans = set()
    for at, name, operands in lines:
        target = re.search(r"\b0x([0-9a-f]+)$", operands) if name.startswith("BRA") and at < end else None
        if target and (begin := int(target[1], 16)) <= at and any(begin <= m <= at for m in matrix):
            spans.add((begin, at))
    inner = sorted(s for s in spans if not any(o != s and s[0] <= o[0] and o[1] <= s[1] for o in spans))
    return [MatrixLoop(kernel, tuple(_named(n, o) for at, n, o in lines if b <= at <= e)) for b, e in inner]


def _named(name: str, operands: str) -> str:
    """A wait keeps its operands: how many groups it leaves open."""
    return f"{name} {operands}" if name.startswith("WARPGROUP.DEPBAR") else name
