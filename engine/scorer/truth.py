"""How far rows of a call's output are from the float64 truth, as a problem's reference.py defines it.

One rule: `reference()` is the definition. Where the file also says `compiled = "attention"`, the rows are checked by
exact.c, several times faster and without torch, and only after both agreed on inputs drawn for that: once for each
text of reference.py, each exact.c and each compiler. It is ours, and never a candidate's.

All rows of a call are first looked at in float32 (near.c), which costs half; what may be wrong is then seen in float64.
"""

from __future__ import annotations

import ast
import ctypes
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from engine.record.errors import ConfigError, ScorerError
from engine.scorer import toolchain as tools
from engine.scorer.arena import Placement
from engine.scorer.hands import Hands, Rows
from engine.scorer.problem import Configuration, Problem
from engine.scorer.toolchain import Toolchain

if TYPE_CHECKING:
    from engine.scorer.reference import Reference

COMPILED = ("attention",)
# What the two may differ by in the error of a row.
AGREED = 1e-10
# A row passes in float32 below the first part of the tolerance, if float32 was off by less than the second part in rows
# that are known in float64.
PASSES, BELIEVED = 1 / 2, 1 / 3


class Truth(Protocol):
    """Judges rows."""

    def errors(self, placement: Placement, positions: Sequence[int]) -> list[float]:
        """The row-relative L2 errors in the order [batch, positions, heads_q], at rising query positions."""

    def all_errors(
        self, placement: Placement, sample: Sequence[int], tolerance: float
    ) -> tuple[Sequence[int], list[float]]:
        """Positions and their errors, as `errors` gives them: those of `sample` and all that miss the tolerance.

        Every row of the call was looked at.
        """


def open_truth(problem: Problem, hands: Hands, threads: int, agreement: Path, load: Callable[[], Reference]) -> Truth:
    """The truth of a problem; `agreement` is the file whose being there says that the two agreed.

    Raises ConfigError when the compiled form is unknown or computes something else.
    """
    compiled = declared(problem)
    if compiled is None:
        return load()
    if compiled not in COMPILED:
        raise ConfigError(f"{problem.reference}: compiled = {compiled!r} is not known; known: {', '.join(COMPILED)}")
    exact = Exact(hands, threads)
    if not agreement.exists():
        if not (apart := load().apart(exact)) <= AGREED:
            raise ConfigError(
                f"{problem.reference}: compiled = {compiled!r} and reference() differ by {apart:.1g} of a row; "
                "take `compiled` out of the file, and reference() alone decides"
            )
        agreement.write_text(f"{apart:.3g}\n")
    return exact


def needs_reference(problem: Problem, toolchain: Toolchain) -> bool:
    """Whether judging this problem begins with loading its reference.py."""
    return declared(problem) is None or not agreed(problem, toolchain).exists()


def agreed(problem: Problem, toolchain: Toolchain) -> Path:
    """Where it is written down that this reference.py and this compiled form agree on this problem's heads."""
    shapes = sorted({(s.heads_q, s.heads_kv, s.head_dim) for s in (*problem.configurations, *problem.holdouts)})
    key = toolchain.key("agreed", tools.hands(toolchain).name, _text(problem), repr(shapes))
    return toolchain.cache / f"agreed-{key}"


def declared(problem: Problem) -> str | None:
    """What reference.py says of a compiled form, read without running it. Raises ConfigError for what is no text."""
    try:
        lines = ast.parse(_text(problem)).body
    except (SyntaxError, ValueError):
        return None  # loading it says what is wrong
    said: ast.expr | None = None
    for line in lines:
        match line:
            case ast.Assign(targets=[ast.Name(id="compiled")], value=value):
                said = value
            case ast.AnnAssign(target=ast.Name(id="compiled"), value=value):
                said = value
    match said:
        case None | ast.Constant(value=None):
            return None
        case ast.Constant(value=str(compiled)):
            return compiled
    raise ConfigError(f"{problem.reference}: compiled must be a plain text such as {COMPILED[0]!r}")


def _text(problem: Problem) -> str:
    try:
        return problem.reference.read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ScorerError(f"{problem.reference}: {error}") from error


class Exact:
    """softmax(scale · Q Kᵀ) V in float64, by exact.c."""

    def __init__(self, hands: Hands, threads: int) -> None:
        self._hands, self._threads = hands, threads

    def errors(self, placement: Placement, positions: Sequence[int]) -> list[float]:
        """See Truth."""
        return self._errors(placement, positions, near=False)

    def all_errors(
        self, placement: Placement, sample: Sequence[int], tolerance: float
    ) -> tuple[Sequence[int], list[float]]:
        """See Truth. In float32 first; `sample` should hold the rows that are hardest to compute."""
        shape, every = placement.shape, range(placement.shape.seqlen)
        if 2 * len(sample) < shape.seqlen:
            near = self._errors(placement, every, near=True)
            heads, limit = shape.heads_q, PASSES * tolerance
            worst = near.index(max(near))
            doubtful = [row for row, error in enumerate(near) if not error <= limit]  # what is not a number, too
            positions = sorted({*sample, *(row // heads % shape.seqlen for row in (worst, *doubtful))})
            errors = self.errors(placement, positions)
            both = zip(_at(near, positions, shape), errors, strict=True)
            if all(abs(a - b) <= BELIEVED * tolerance for a, b in both):
                return positions, errors
        return every, self.errors(placement, every)

    def _errors(self, placement: Placement, positions: Sequence[int], *, near: bool) -> list[float]:
        s, count = placement.shape, len(positions)
        at, errors = (ctypes.c_int64 * count)(*positions), (ctypes.c_double * (s.batch * count * s.heads_q))()
        rows = Rows(
            placement.q, placement.k, placement.v, placement.o, s.batch, s.heads_q, s.heads_kv, s.seqlen, s.head_dim,
            int(s.causal), placement.scale, ctypes.addressof(at), count, ctypes.addressof(errors),
        )  # fmt: skip
        self._hands.row_errors(rows, threads=self._threads, near=near)
        return errors[:]


def _at(errors: Sequence[float], positions: Sequence[int], shape: Configuration) -> list[float]:
    """Those of all rows' errors that belong to some positions, in the same order."""
    found: list[float] = []
    for batch in range(shape.batch):
        for position in positions:
            first = (batch * shape.seqlen + position) * shape.heads_q
            found += errors[first : first + shape.heads_q]
    return found
