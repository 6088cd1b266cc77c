"""The CUDA judge: draws the inputs on the device, owns the clock, checks every output, decides.

One rule, the CPU judge's: a call counts only when its own output was checked. Calls come in blocks, because one lasts
a millisecond; the judge's wall clock around a block is the score, and no event of the candidate's is believed.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor

from engine.record.errors import ScorerError
from engine.scorer.cuda.arena import Block, CudaArena, Tensors
from engine.scorer.failure import fail
from engine.scorer.hands import Hands
from engine.scorer.judge import HOT_STD, NEEDLE_LOGIT, SHIFT, Call, Full, is_full
from engine.scorer.problem import Configuration, Problem
from engine.scorer.reference import Baseline, load_module
from engine.scorer.worker import Runs

DTYPES = {"bfloat16": torch.bfloat16, "float16": torch.float16}
LOGITS_BUDGET = 1 << 27
FULL_ROWS, SAMPLED_ROWS = 96, 6
EARLY_SAMPLES = 4096
# How many times the error of the same-precision peer a candidate may have (FlashAttention's own tests use 2).
PEER_FACTOR = 2.0
_RANDOM = random.SystemRandom()


class CudaJudge:
    """Judges the candidates of one problem on this machine's current CUDA device."""

    def __init__(self, problem: Problem, hands: Hands, threads: int) -> None:
        torch.backends.cuda.matmul.allow_tf32 = False
        self.problem, self.hands, self.threads = problem, hands, threads
        self._module = load_module(problem)
        self.arena = CudaArena((*problem.configurations, *problem.holdouts), DTYPES[problem.dtype])

    def baselines(self) -> dict[str, Baseline]:
        """The problem's own baselines by name."""
        found: dict[str, Baseline] = getattr(self._module, "baselines", dict)()
        return dict(found)

    def call(self, worker: Runs, shape: Configuration, *, timeout_s: float, full: Full = False) -> Call:
        """One block of calls on fresh inputs, each output checked. Raises CandidateFailed."""
        scale = shape.scale * (_RANDOM.uniform(0.5, 1.5) if shape.holdout else 1.0)
        with _enough_memory(shape.name):
            block = self.arena.place(shape, scale, _shifts(shape))
            special = [row for call in block.calls for row in _plant(call, block)]
            self.arena.keep()
            latency_us = worker.run(block, timeout_s)  # type: ignore[arg-type]
            early = self._sampled(block)
            error, rows = self._check(block, special, full=is_full(full, latency_us))
            if not torch.equal(early(), early.first):
                raise fail(
                    "integrity", "it answered before it was done: sampled outputs changed after the reply", shape.name
                )
        return Call(latency_us, error, rows)

    def close(self) -> None:
        """Release the device memory."""
        self.arena.close()

    def _sampled(self, block: Block) -> Sampled:
        return Sampled([c.o for c in block.calls])

    def _check(self, block: Block, special: list[int], *, full: bool) -> tuple[float, int]:
        name = block.shape.name
        for call in block.calls:
            if (index := _first_not_finite(call.o)) is not None:
                raise fail("check", f"output element {index} was never written or is not a finite number", name)
        worst, rows = 0.0, 0
        for number, call in enumerate(block.calls):
            positions = _positions(block.shape, special, FULL_ROWS if full and number == 0 else SAMPLED_ROWS)
            worst = max(
                worst, self._check_rows(block, call, positions, peer=full and number == 0 and not block.shape.holdout)
            )
            rows += len(positions) * block.shape.batch * block.shape.heads_q
        if written := self.arena.disturbed_guards(block):
            raise fail("integrity", f"it wrote {written} words outside its output", name)
        if self.arena.inputs_changed():
            raise fail("integrity", "it wrote to q, k or v, which are read-only", name)
        return worst, rows

    def _check_rows(self, block: Block, call: Tensors, positions: Tensor, *, peer: bool) -> float:
        shape, worst, squares, count = block.shape, 0.0, 0.0, 0
        step = max(1, LOGITS_BUDGET // (shape.batch * shape.heads_q * shape.seqlen))
        peer_out = self._peer(call, block) if peer else None
        peer_squares = 0.0
        for chunk in positions.split(step):
            truth = self._module.reference(call.q, call.k, call.v, chunk, causal=shape.causal, scale=block.scale)
            if truth.dtype != torch.float64:
                raise ScorerError(f"{self.problem.reference}: reference() must return float64")
            error = _row_error(call.o[:, chunk], truth)
            largest = float(error.max())
            if not largest <= self.problem.tolerance:
                raise self._wrong(error, chunk, shape)
            worst, squares, count = max(worst, largest), squares + float((error**2).sum()), count + error.numel()
            if peer_out is not None:
                peer_squares += float((_row_error(peer_out[:, chunk], truth) ** 2).sum())
        if peer_out is not None and squares > PEER_FACTOR**2 * peer_squares + count * 1e-16:
            ratio = (squares / max(peer_squares, 1e-300)) ** 0.5
            reason = (
                f"its error is {ratio:.2f} times that of the same-precision peer; at most {PEER_FACTOR:g} is allowed"
            )
            raise fail("check", reason, shape.name, error=worst)
        return worst

    def _peer(self, call: Tensors, block: Block) -> Tensor | None:
        """The same inputs through the problem's `peer`, a trusted kernel of the same precision, when it has one."""
        function: Callable[..., Tensor] | None = getattr(self._module, "peer", None)
        if function is None:
            return None
        return function(call.q, call.k, call.v, block.shape.causal, block.scale)

    def _wrong(self, error: Tensor, positions: Tensor, shape: Configuration) -> Exception:
        bad = ~(error <= self.problem.tolerance)
        b, p, h = (int(i) for i in torch.unravel_index(torch.nan_to_num(error, nan=float("inf")).argmax(), error.shape))
        heads, largest = int(bad.any(0).any(0).sum()), float(error.max())
        reason = (
            f"wrong in {int(bad.sum())} of {bad.numel()} rows checked ({heads} of {shape.heads_q} heads): "
            f"batch {b}, position {int(positions[p])}, head {h} has relative error {largest:.2g}, "
            f"allowed {self.problem.tolerance:g}"
        )
        return fail("check", reason, shape.name, error=largest)


@contextmanager
def _enough_memory(name: str) -> Iterator[None]:
    """A worker can take the device's memory that its check needs: that is its failure, and the next one's chance."""
    try:
        yield
    except torch.cuda.OutOfMemoryError as error:
        torch.cuda.empty_cache()
        reason = "device memory ran out during its check: it, or another program on this GPU, holds too much of it"
        raise fail("crash", reason, name, log=str(error)) from error


class Sampled:
    """Random elements of some outputs, copied when made; calling it reads them again."""

    def __init__(self, outputs: list[Tensor]) -> None:
        self._flat = [o.view(torch.int16).view(-1) for o in outputs]
        self._where = [torch.randint(0, f.numel(), (EARLY_SAMPLES,), device=f.device) for f in self._flat]
        self.first = self()

    def __call__(self) -> Tensor:
        """The sampled elements now, on the host."""
        return torch.stack([f[w] for f, w in zip(self._flat, self._where, strict=True)]).cpu()


class CudaBaseline:
    """Answers blocks with a baseline: trusted code in the judge's process, timed by the same wall clock."""

    def __init__(self, function: Baseline) -> None:
        self._function = function
        self._warm: set[str] = set()

    def run(self, placement: Block, timeout_s: float) -> float:
        """One timed block; returns microseconds per call. The first block of a shape is preceded by an untimed call."""
        del timeout_s
        block, causal = placement, placement.shape.causal
        with torch.inference_mode():
            if block.shape.name not in self._warm:  # a baseline may compile itself for a shape when it first sees it
                self._function(block.calls[0].q, block.calls[0].k, block.calls[0].v, causal, block.scale)
                self._warm.add(block.shape.name)
            torch.cuda.synchronize()
            begin = time.clock_gettime_ns(time.CLOCK_MONOTONIC_RAW)
            outputs = [self._function(c.q, c.k, c.v, causal, block.scale) for c in block.calls]
            torch.cuda.synchronize()
            elapsed_ns = time.clock_gettime_ns(time.CLOCK_MONOTONIC_RAW) - begin
            for call, out in zip(block.calls, outputs, strict=True):
                call.o.copy_(out)
            torch.cuda.synchronize()
        return elapsed_ns / 1e3 / block.count

    def close(self) -> None:
        """Nothing to end."""


def _plant(call: Tensors, block: Block) -> list[int]:
    """Make some rows telling: hot ones (logits near 100) and needles (one far key carries the row)."""
    shape = block.shape
    rows = _RANDOM.sample(range(shape.seqlen), min(4, shape.seqlen))
    hot, needles = rows[: len(rows) // 2], rows[len(rows) // 2 :]
    if hot:
        call.q[:, hot] *= HOT_STD / (block.scale * shape.head_dim**0.5)
    strength = NEEDLE_LOGIT / (block.scale * shape.head_dim)
    for row in needles:
        reach = row + 1 if shape.causal else shape.seqlen
        key = _RANDOM.randrange(max(1, reach // 2)) if shape.causal else _RANDOM.randrange(reach)
        call.q[:, row] = call.k[:, key].repeat_interleave(shape.heads_q // shape.heads_kv, dim=1) * strength
    return rows


def _shifts(shape: Configuration) -> Tensor:
    heads = torch.tensor([_RANDOM.choice((0.0, 0.0, SHIFT, -SHIFT)) for _ in range(shape.heads_kv)])
    return heads.repeat_interleave(shape.head_dim).contiguous()


def _positions(shape: Configuration, special: list[int], count: int) -> Tensor:
    """First, last, the planted rows and some random ones; every row of a short shape."""
    if shape.seqlen <= 2 * count:
        return torch.arange(shape.seqlen, device="cuda")
    drawn = (_RANDOM.randrange(shape.seqlen) for _ in range(count))
    return torch.tensor(sorted({0, shape.seqlen - 1, *special, *drawn}), device="cuda")


def _row_error(got: Tensor, truth: Tensor) -> Tensor:
    return torch.linalg.vector_norm(got.to(torch.float64) - truth, dim=-1) / torch.linalg.vector_norm(truth, dim=-1)


def _first_not_finite(output: Tensor) -> int | None:
    bad = ~torch.isfinite(output.view(-1))
    return int(bad.int().argmax()) if bool(bad.any()) else None
