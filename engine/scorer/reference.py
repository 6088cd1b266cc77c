"""A problem's reference.py: the definition of its truth, and the baselines. It speaks torch; the judge need not.

One rule: nothing here decides. It gives rows in float64 and functions by name; truth.py and judge.py compare and time.
"""

from __future__ import annotations

import ctypes
import importlib.util
import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from types import ModuleType

import torch
from torch import Tensor

from engine.record.errors import ConfigError, ScorerError
from engine.record.frozen import dataclass
from engine.scorer.arena import Placement
from engine.scorer.hands import Request
from engine.scorer.problem import Configuration, Problem
from engine.scorer.text import one_line
from engine.scorer.truth import Exact

LOGITS_BUDGET = 1 << 24
# How far outputs are off, about, where the compiled rows and the reference must tell the same of it.
PERTURBED = 1e-4
SEQLEN = 100

Baseline = Callable[[Tensor, Tensor, Tensor, bool, float], Tensor]


@dataclass(frozen=True, slots=True)
class Views:
    """The tensors of one call, where they lie: q, o [batch, seqlen, heads_q, head_dim]; k, v with heads_kv."""

    q: Tensor
    k: Tensor
    v: Tensor
    o: Tensor


def views(placement: Placement) -> Views:
    """Tensors over a call's own memory. They do not keep it: the arena does."""
    shape = placement.shape
    queries = (shape.batch, shape.seqlen, shape.heads_q, shape.head_dim)
    keys = (shape.batch, shape.seqlen, shape.heads_kv, shape.head_dim)
    return Views(
        _view(placement.q, queries), _view(placement.k, keys), _view(placement.v, keys), _view(placement.o, queries)
    )


def _view(address: int, shape: Sequence[int]) -> Tensor:
    count = torch.Size(shape).numel()
    return torch.frombuffer((ctypes.c_float * count).from_address(address), dtype=torch.float32).view(shape)


def load_module(problem: Problem) -> ModuleType:
    """Load the problem's reference.py. Raises ConfigError when it cannot serve."""
    spec = importlib.util.spec_from_file_location(f"avo_reference_{problem.name}", problem.reference)
    if spec is None or spec.loader is None:
        raise ConfigError(f"{problem.reference}: not a Python file")
    module = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
    except Exception as error:
        raise ConfigError(f"{problem.reference}: {type(error).__name__}: {error}") from error
    if not callable(getattr(module, "reference", None)):
        raise ConfigError(f"{problem.reference}: it must define reference(q, k, v, positions, *, causal, scale)")
    return module


class Reference:
    """reference.py, loaded; its work is done by so many threads."""

    def __init__(self, problem: Problem, threads: int) -> None:
        torch.set_num_threads(threads)
        self._problem, self._module = problem, load_module(problem)

    def baselines(self) -> dict[str, Baseline]:
        """The problem's own baselines by name."""
        found: dict[str, Baseline] = getattr(self._module, "baselines", dict)()
        return dict(found)

    def errors(self, placement: Placement, positions: Sequence[int]) -> list[float]:
        """See Truth."""
        shape = placement.shape
        step = max(1, LOGITS_BUDGET // (shape.batch * shape.heads_q * shape.seqlen))
        chunks = torch.tensor(positions).split(step)
        found: list[float] = torch.cat([self._chunk(placement, chunk) for chunk in chunks], 1).flatten().tolist()
        return found

    def all_errors(
        self, placement: Placement, sample: Sequence[int], tolerance: float
    ) -> tuple[Sequence[int], list[float]]:
        """See Truth."""
        every = range(placement.shape.seqlen)
        return every, self.errors(placement, every)

    def _chunk(self, placement: Placement, positions: Tensor) -> Tensor:
        truth = self.rows(placement, positions)
        got = views(placement).o[:, positions].to(torch.float64)
        return torch.linalg.vector_norm(got - truth, dim=-1) / torch.linalg.vector_norm(truth, dim=-1)

    def rows(self, placement: Placement, positions: Tensor) -> Tensor:
        """The rows themselves, [batch, positions, heads_q, head_dim] float64."""
        shape, seen = placement.shape, views(placement)
        try:
            truth = self._module.reference(
                seen.q, seen.k, seen.v, positions, causal=shape.causal, scale=placement.scale
            )
        except Exception as error:  # whoever wrote the problem must hear which file to mend
            said = f"{type(error).__name__}: {one_line(str(error))}"
            raise ScorerError(f"{self._problem.reference}: reference() raised {said}") from error
        expected = (shape.batch, len(positions), shape.heads_q, shape.head_dim)
        if not isinstance(truth, Tensor) or tuple(truth.shape) != expected or truth.dtype != torch.float64:
            raise ScorerError(f"{self._problem.reference}: reference() must return float64 of shape {expected}")
        return truth

    def apart(self, exact: Exact) -> float:
        """The largest difference between what the two say of rows that are a little wrong; infinite for no number."""
        apart: list[float] = []
        for shape in _short((*self._problem.configurations, *self._problem.holdouts)):
            call = SomeCall(shape)
            truth = self.rows(call.placement, torch.arange(shape.seqlen))
            call.tensors.o.copy_(truth * (1.0 + PERTURBED * torch.randn_like(truth)))
            both = (judge.errors(call.placement, range(shape.seqlen)) for judge in (exact, self))
            apart += [abs(a - b) for a, b in zip(*both, strict=True)]
        return math.inf if any(map(math.isnan, apart)) else max(apart)


def _short(shapes: Iterable[Configuration]) -> list[Configuration]:
    """Each kind of head that occurs, causal and not, at one short length."""
    heads = {(s.heads_q, s.heads_kv, s.head_dim): s for s in shapes}
    short = (replace(s, batch=2, seqlen=SEQLEN) for s in heads.values())
    return [replace(s, causal=causal) for s in short for causal in (False, True)]


class SomeCall:
    """Inputs of no candidate's call, with queries of every strength, and room for an output."""

    def __init__(self, shape: Configuration) -> None:
        rows, pairs = (shape.batch, shape.seqlen, shape.heads_q), (shape.batch, shape.seqlen, shape.heads_kv)
        q = torch.randn(*rows, shape.head_dim) * torch.rand(*rows, 1).mul(8.0).exp2()
        k, v = (torch.randn(*pairs, shape.head_dim) for _ in range(2))
        self.tensors = Views(q, k, v, torch.empty_like(q))
        self.placement = Placement(
            shape, shape.scale, q.data_ptr(), k.data_ptr(), v.data_ptr(), self.tensors.o.data_ptr(), Request(), 0
        )
