"""How far rows of a call's output are from the float64 truth, as a problem's reference.py defines it.

One rule: `reference()` is the definition. Where the file also says `compiled = "attention"`, the rows are checked by
exact.c, several times faster, and only after both agreed on inputs drawn for that; it is ours, and never a candidate's.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from types import ModuleType
from typing import Protocol

import torch
from torch import Tensor

from engine.record.errors import ConfigError, ScorerError
from engine.scorer.arena import Placement
from engine.scorer.hands import Hands, Request, Rows
from engine.scorer.problem import Configuration, Problem
from engine.scorer.text import one_line

LOGITS_BUDGET = 1 << 24
COMPILED = ("attention",)
# What the two may differ by in the error of a row, where outputs are off by about PERTURBED.
PERTURBED, AGREED = 1e-4, 1e-10
SEQLEN = 100


class Truth(Protocol):
    """Judges rows."""

    def errors(self, placement: Placement, positions: Tensor) -> Tensor:
        """The row-relative L2 error [batch, positions, heads_q] float64 at rising query positions [P] int64."""


def open_truth(problem: Problem, module: ModuleType, hands: Hands, threads: int) -> Truth:
    """The truth of a problem. Raises ConfigError when its compiled form is unknown or computes something else."""
    reference, compiled = Reference(problem, module), getattr(module, "compiled", None)
    if compiled is None:
        return reference
    if compiled not in COMPILED:
        raise ConfigError(f"{problem.reference}: compiled = {compiled!r} is not known; known: {', '.join(COMPILED)}")
    exact = Exact(hands, threads)
    if (apart := _apart(reference, exact, _shapes((*problem.configurations, *problem.holdouts)))) > AGREED:
        raise ConfigError(
            f"{problem.reference}: compiled = {compiled!r} and reference() differ by {apart:.1g} of a row; "
            "take `compiled` out of the file, and reference() alone decides"
        )
    return exact


class Reference:
    """reference() itself, some rows at a time."""

    def __init__(self, problem: Problem, module: ModuleType) -> None:
        self._problem, self._module = problem, module

    def errors(self, placement: Placement, positions: Tensor) -> Tensor:
        """See Truth."""
        shape = placement.shape
        step = max(1, LOGITS_BUDGET // (shape.batch * shape.heads_q * shape.seqlen))
        return torch.cat([self._chunk(placement, chunk) for chunk in positions.split(step)], 1)

    def _chunk(self, placement: Placement, positions: Tensor) -> Tensor:
        truth = self.rows(placement, positions)
        got = placement.o[:, positions].to(torch.float64)
        return torch.linalg.vector_norm(got - truth, dim=-1) / torch.linalg.vector_norm(truth, dim=-1)

    def rows(self, placement: Placement, positions: Tensor) -> Tensor:
        """The rows themselves, [batch, positions, heads_q, head_dim] float64."""
        shape = placement.shape
        try:
            truth = self._module.reference(
                placement.q, placement.k, placement.v, positions, causal=shape.causal, scale=placement.scale
            )
        except Exception as error:  # whoever wrote the problem must hear which file to mend
            said = f"{type(error).__name__}: {one_line(str(error))}"
            raise ScorerError(f"{self._problem.reference}: reference() raised {said}") from error
        expected = (shape.batch, len(positions), shape.heads_q, shape.head_dim)
        if not isinstance(truth, Tensor) or tuple(truth.shape) != expected or truth.dtype != torch.float64:
            raise ScorerError(f"{self._problem.reference}: reference() must return float64 of shape {expected}")
        return truth


class Exact:
    """softmax(scale · Q Kᵀ) V in float64, by exact.c."""

    def __init__(self, hands: Hands, threads: int) -> None:
        self._hands, self._threads = hands, threads

    def errors(self, placement: Placement, positions: Tensor) -> Tensor:
        """See Truth."""
        s, at = placement.shape, positions.contiguous()
        errors = torch.empty(s.batch, len(at), s.heads_q, dtype=torch.float64)
        tensors = (placement.q, placement.k, placement.v, placement.o)
        rows = Rows(
            *(t.data_ptr() for t in tensors), s.batch, s.heads_q, s.heads_kv, s.seqlen, s.head_dim, int(s.causal),
            placement.scale, at.data_ptr(), len(at), errors.data_ptr(),
        )  # fmt: skip
        self._hands.row_errors(rows, threads=self._threads)
        return errors


def _shapes(shapes: Iterable[Configuration]) -> list[Configuration]:
    """Each kind of head that occurs, causal and not, at one short length."""
    heads = {(s.heads_q, s.heads_kv, s.head_dim): s for s in shapes}
    short = (replace(s, batch=2, seqlen=SEQLEN) for s in heads.values())
    return [replace(s, causal=causal) for s in short for causal in (False, True)]


def _apart(reference: Reference, exact: Exact, shapes: Iterable[Configuration]) -> float:
    """The largest difference between the two over outputs that are a little wrong."""
    positions, largest = torch.arange(SEQLEN), 0.0
    for shape in shapes:
        call = some_call(shape)
        truth = reference.rows(call, positions)
        call.o.copy_(truth * (1.0 + PERTURBED * torch.randn_like(truth)))
        largest = max(largest, float((exact.errors(call, positions) - reference.errors(call, positions)).abs().max()))
    return largest


def some_call(shape: Configuration) -> Placement:
    """Inputs of no call, with queries of every strength."""
    rows, pairs = (shape.batch, shape.seqlen, shape.heads_q), (shape.batch, shape.seqlen, shape.heads_kv)
    q = torch.randn(*rows, shape.head_dim) * torch.rand(*rows, 1).mul(8.0).exp2()
    k, v = (torch.randn(*pairs, shape.head_dim) for _ in range(2))
    return Placement(shape, shape.scale, q, k, v, torch.empty_like(q), Request(), 0)
