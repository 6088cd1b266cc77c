"""What the compiler made of a candidate: its hot loops, read from objdump's listing.

The hot loop is guessed, not sampled: among the innermost loops (backward jumps that hold no other), the one with the
most floating-point work. The guess is labelled as such wherever it is shown.
"""

from __future__ import annotations

import re
import shutil
from dataclasses import dataclass
from pathlib import Path

from engine.scorer import sandbox
from engine.scorer.children import Children
from engine.scorer.toolchain import temporary

LISTING_LIMIT = 32 << 20
_LINE = re.compile(r"^\s*([0-9a-f]+):\s+(\S+)\s*(.*)$")
_SYMBOL = re.compile(r"^[0-9a-f]+ <(.+)>:$")
_ARITHMETIC = re.compile(r"^v?(add|sub|mul|div|max|min|sqrt|fn?m(add|sub)\w*|dpbf16)\w*(ps|ss)$")
_PACKED = re.compile(r"ps$")


@dataclass(frozen=True, slots=True)
class Instruction:
    """One line of the listing."""

    address: int
    name: str
    operands: str


@dataclass(frozen=True, slots=True)
class Loop:
    """One innermost loop."""

    symbol: str
    body: tuple[Instruction, ...]

    @property
    def arithmetic(self) -> int:
        """Floating-point instructions in it."""
        return sum(bool(_ARITHMETIC.match(i.name)) for i in self.body)

    @property
    def weight(self) -> float:
        """Floating-point lanes worked on: what makes one loop hotter than another, as far as a listing can say."""
        return sum(_lanes(i) for i in self.body if _ARITHMETIC.match(i.name))

    @property
    def vector_bits(self) -> int:
        """Widest packed arithmetic in it; 32 when it is scalar, 0 when there is none."""
        return max((32 * _lanes(i) for i in self.body if _ARITHMETIC.match(i.name)), default=0)

    @property
    def fma_share(self) -> float:
        """Fused multiply-adds among its floating-point instructions."""
        fused = sum(bool(re.match(r"v?fn?m(add|sub)", i.name)) for i in self.body)
        return fused / self.arithmetic if self.arithmetic else 0.0

    @property
    def spills(self) -> int:
        """Vector registers stored to the stack or loaded from it inside the loop."""
        return sum(
            i.name.startswith("v") and "mov" in i.name and bool(re.search(r"\((%rsp|%rbp)\)", i.operands))
            for i in self.body
        )

    def text(self, limit: int = 60) -> str:
        """The loop's listing, at most `limit` lines."""
        lines = [f"    {i.name:<16}{i.operands}" for i in self.body[:limit]]
        left = len(self.body) - limit
        return "\n".join(lines + ([f"    … {left} more"] if left > 0 else []))


@dataclass(frozen=True, slots=True)
class Listing:
    """A disassembled library: its innermost loops, hottest first, and counts over all its code."""

    loops: tuple[Loop, ...]
    gathers: int
    calls: dict[str, int]


def disassemble(library: Path, children: Children, cache: Path) -> Listing | None:
    """Read a library with objdump, in the sandbox: whoever wrote the candidate made it. None without binutils."""
    objdump = shutil.which("objdump")
    if objdump is None:
        return None
    with temporary(cache) as folder:
        folder.chmod(0o711)
        copy, output = folder / "in", folder / "out"
        copy.mkdir(mode=0o755)
        output.mkdir(mode=0o700)
        sandbox.give(children.sandbox, output)
        shutil.copyfile(library, copy / "candidate.so")
        argv = [objdump, "-d", "--no-show-raw-insn", "-j", ".text", "candidate.so"]
        job = sandbox.build_job(children.sandbox, argv, copy, output, cpu_s=60)
        done = children.run(
            job.argv, env=job.env, cwd=Path(job.cwd), pass_fds=job.pass_fds, timeout_s=60, limit=LISTING_LIMIT
        )
    return parse(done.output.decode("utf-8", "replace")) if done.code == 0 else None


def parse(text: str) -> Listing:
    """A Listing from objdump's output."""
    functions: dict[str, list[Instruction]] = {}
    body: list[Instruction] = []
    for line in text.splitlines():
        if symbol := _SYMBOL.match(line):
            body = functions.setdefault(symbol[1], [])
        elif found := _LINE.match(line):
            body.append(Instruction(int(found[1], 16), found[2], found[3]))
    loops = [loop for name, instructions in functions.items() for loop in _innermost(name, instructions)]
    loops.sort(key=lambda loop: -loop.weight)
    every = [i for instructions in functions.values() for i in instructions]
    calls: dict[str, int] = {}
    for i in every:
        if i.name.startswith("call") and (target := re.search(r"<([^>@]+)@plt>", i.operands)):
            calls[target[1]] = calls.get(target[1], 0) + 1
    return Listing(tuple(loops), sum("gather" in i.name for i in every), calls)


def _innermost(symbol: str, body: list[Instruction]) -> list[Loop]:
    spans = []
    for i in body:
        if i.name.startswith("j") and (target := re.match(r"([0-9a-f]+)\b", i.operands)):
            begin = int(target[1], 16)
            if body[0].address <= begin <= i.address:
                spans.append((begin, i.address))
    inner = [s for s in spans if not any(o != s and s[0] <= o[0] and o[1] <= s[1] for o in spans)]
    loops = (Loop(symbol, tuple(i for i in body if b <= i.address <= e)) for b, e in sorted(set(inner)))
    return [loop for loop in loops if loop.arithmetic]


def _lanes(i: Instruction) -> int:
    if not _PACKED.search(i.name):
        return 1
    return 16 if "%zmm" in i.operands else 8 if "%ymm" in i.operands else 4
