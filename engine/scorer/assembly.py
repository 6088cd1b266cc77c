"""What the compiler made of a candidate: its innermost loops, read from objdump's listing of x86-64 code.

One rule: it reads and never guesses which loop is hot; hotspots.py says that, from samples where there are any. Loops
come ordered by their floating-point work, which is all that a listing can say.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Mapping
from dataclasses import field
from pathlib import Path

from engine.record.frozen import dataclass
from engine.scorer.children import Children
from engine.scorer.examine import NAME, examine

_LINE = re.compile(r"^\s*([0-9a-f]+):\s+(\S+)\s*(.*)$")
_SYMBOL = re.compile(r"^[0-9a-f]+ <(.+)>:$")
_ARITHMETIC = re.compile(r"^v?(add|sub|mul|div|max|min|sqrt|fn?m(add|sub)\w*|dpbf16)\w*(ps|ss)$")
_FUSED = re.compile(r"^v?fn?m(add|sub)")
_PACKED = re.compile(r"ps$")
_SOURCE = re.compile(r"^/?(?:\S*/)?([^\s/]+:\d+)(?: \(discriminator \d+\))?$")
_STACK = re.compile(r"\(%rsp[,)]")
_FRAME = re.compile(r"\(%rbp[,)]")


@dataclass(frozen=True, slots=True)
class Instruction:
    """One line of the listing; `source` is "file:line" where the library carries line numbers."""

    address: int
    name: str
    operands: str
    source: str = ""


@dataclass(frozen=True, slots=True)
class Loop:
    """One innermost loop. `framed`: its function keeps its frame in %rbp, which is a register like others elsewhere."""

    symbol: str
    body: tuple[Instruction, ...]
    framed: bool = False

    @property
    def name(self) -> str:
        """The function's own name, without its arguments."""
        return short_name(self.symbol)

    def holds(self, address: int) -> bool:
        """Whether an instruction of the loop lies there."""
        return self.body[0].address <= address <= self.body[-1].address

    @property
    def arithmetic(self) -> int:
        """Floating-point instructions in it."""
        return sum(bool(_ARITHMETIC.match(i.name)) for i in self.body)

    @property
    def weight(self) -> float:
        """Floating-point operations of one pass, two for a fused multiply-add."""
        return sum(_lanes(i) * (2 if _FUSED.match(i.name) else 1) for i in self.body if _ARITHMETIC.match(i.name))

    @property
    def vector_bits(self) -> int:
        """Widest packed arithmetic in it; 32 when it is scalar, 0 when there is none."""
        return max((32 * _lanes(i) for i in self.body if _ARITHMETIC.match(i.name)), default=0)

    @property
    def fma_share(self) -> float:
        """Fused multiply-adds among its floating-point instructions."""
        fused = sum(bool(_FUSED.match(i.name)) for i in self.body)
        return fused / self.arithmetic if self.arithmetic else 0.0

    @property
    def spills(self) -> int:
        """Vector registers stored to the stack or loaded from it inside the loop."""
        return sum(i.name.startswith("v") and "mov" in i.name and self._on_stack(i.operands) for i in self.body)

    def _on_stack(self, operands: str) -> bool:
        return bool(_STACK.search(operands) or (self.framed and _FRAME.search(operands)))

    def text(self, limit: int = 60, beside: Mapping[int, str] | None = None) -> str:
        """The loop's listing, at most `limit` lines; `beside` holds a word for some addresses."""
        notes = beside or {}
        width = max((len(word) for word in notes.values()), default=2) + 2
        lines = [f"{notes.get(i.address, ''):>{width}}  {i.name:<16}{i.operands}".rstrip() for i in self.body[:limit]]
        left = len(self.body) - limit
        return "\n".join(lines + ([f"{'':{width}}  … {left} more"] if left > 0 else []))


@dataclass(frozen=True, slots=True)
class Listing:
    """A disassembled library: its innermost loops, most work first, each function's range, and counts over all code."""

    loops: tuple[Loop, ...] = ()
    gathers: int = 0
    calls: Mapping[str, int] = field(default_factory=dict)
    functions: tuple[tuple[int, int, str], ...] = ()

    def function(self, address: int) -> str:
        """The function that an address lies in, or ""."""
        return next((name for first, last, name in self.functions if first <= address <= last), "")


def disassemble(library: Path, children: Children, cache: Path) -> Listing | None:
    """Read a library with objdump, in the sandbox: whoever wrote the candidate made it. None without binutils."""
    objdump = shutil.which("objdump")
    if objdump is None:
        return None
    argv = [objdump, "-d", "-C", "-l", "--no-show-raw-insn", "-j", ".text", NAME]
    listed = examine(argv, library, children, cache)
    return None if listed is None else parse(listed)


def parse(text: str) -> Listing:
    """A Listing from objdump's output."""
    functions: list[tuple[str, list[Instruction]]] = []
    source = ""
    for line in text.splitlines():
        if symbol := _SYMBOL.match(line):
            functions.append((symbol[1], []))
            source = ""
        elif (found := _LINE.match(line)) and functions:
            functions[-1][1].append(Instruction(int(found[1], 16), found[2], found[3], source))
        elif where := _SOURCE.match(line):
            source = where[1]
    functions = [(name, body) for name, body in functions if body]
    loops = [loop for name, body in functions for loop in _innermost(name, body)]
    loops.sort(key=lambda loop: -loop.weight)
    every = [i for _, body in functions for i in body]
    calls: dict[str, int] = {}
    for i in every:
        if i.name.startswith("call") and (target := re.search(r"<([^>@]+)@plt>", i.operands)):
            calls[target[1]] = calls.get(target[1], 0) + 1
    ranges = tuple((body[0].address, body[-1].address, short_name(name)) for name, body in functions)
    return Listing(tuple(loops), sum("gather" in i.name for i in every), calls, ranges)


def short_name(symbol: str) -> str:
    """A demangled name without return type, anonymous namespace and arguments; a parallel region is said to be one."""
    region = " (parallel region)" if "_omp_fn" in symbol else ""
    name = symbol.replace("(anonymous namespace)::", "").replace("{lambda(", "{lambda").partition("(")[0]
    name = name.partition(" [clone")[0].partition("._omp_fn")[0]
    depth, begin = 0, 0
    for at, letter in enumerate(name):
        depth += (letter == "<") - (letter == ">")
        begin = at + 1 if letter == " " and depth == 0 else begin
    return name[begin:] + region


def _innermost(symbol: str, body: list[Instruction]) -> list[Loop]:
    spans = []
    for i in body:
        if i.name.startswith("j") and (target := re.match(r"([0-9a-f]+)\b", i.operands)):
            begin = int(target[1], 16)
            if body[0].address <= begin <= i.address:
                spans.append((begin, i.address))
    inner = [s for s in spans if not any(o != s and s[0] <= o[0] and o[1] <= s[1] for o in spans)]
    framed = any(i.name == "mov" and i.operands == "%rsp,%rbp" for i in body)
    loops = (Loop(symbol, tuple(i for i in body if b <= i.address <= e), framed) for b, e in sorted(set(inner)))
    return [loop for loop in loops if loop.arithmetic]


def _lanes(i: Instruction) -> int:
    if not _PACKED.search(i.name):
        return 1
    return 16 if "%zmm" in i.operands else 8 if "%ymm" in i.operands else 4
