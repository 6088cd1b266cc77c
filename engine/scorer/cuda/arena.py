"""Device memory of a CUDA judge, lent to its workers through CUDA IPC.

One rule: every block of calls lies at other addresses, on other secret inputs, with poison in its outputs and guard
bands around them. A worker can write the inputs, unlike on the CPU, so the judge keeps a copy and compares.
"""

from __future__ import annotations

import ctypes
import fcntl
import os
import random

import torch
from torch import Tensor

from engine.record.errors import ScorerError
from engine.record.frozen import dataclass
from engine.scorer.hands import Request, secret
from engine.scorer.problem import Configuration

GUARD_BYTES = 256 << 10
SLACK_BYTES = 8 << 20
ALIGNMENT = 1024
MAX_CALLS = 8
# A block of calls is to last about this long, so that the round trip to the worker stays far below one percent.
BLOCK_S = 8e-3
# Only sizes the blocks, before anything is measured: an untrusted clock must not set how much is timed.
EXPECTED_FLOPS = 600e12
_SEALS, _SEAL_ALL = 1033, 1 | 2 | 4 | 8
_RANDOM = random.SystemRandom()


@dataclass(frozen=True, slots=True)
class Tensors:
    """One call: q, o [batch, seqlen, heads_q, head_dim]; k, v [batch, seqlen, heads_kv, head_dim]; all bf16."""

    q: Tensor
    k: Tensor
    v: Tensor
    o: Tensor


@dataclass(frozen=True, slots=True)
class Block:
    """Calls launched back to back by one request, and the poison that their outputs held before."""

    shape: Configuration
    scale: float
    calls: tuple[Tensors, ...]
    request: Request
    poison: int

    o = 0
    """No address: device memory is not sampled by the C part of the judge."""

    @property
    def count(self) -> int:
        """How many calls."""
        return len(self.calls)


class NoSample:
    """The CPU judge samples shared memory at the reply; device memory is sampled by the judge itself."""

    count = 0
    where = (ctypes.c_uint32 * 1)()
    early = (ctypes.c_uint32 * 1)()


class CudaArena:
    """Memory for MAX_CALLS calls of the largest shape. `input_fd` holds the IPC handles; `output_fd` is unused."""

    def __init__(self, shapes: tuple[Configuration, ...], dtype: torch.dtype) -> None:
        self._dtype = dtype
        size = dtype.itemsize
        q = _region(max(s.query_elements for s in shapes) * size)
        kv = _region(max(s.key_elements for s in shapes) * size)
        self._starts = {"q": 0, "k": q, "v": q + kv, "o": 0}
        self._in_stride, self._out_stride = q + 2 * kv, q
        try:
            # Pools of their own: a worker maps whole allocations, and must find nothing else of the judge's there.
            self._pools = torch.cuda.MemPool(), torch.cuda.MemPool()
            self._inputs = _lent(MAX_CALLS * self._in_stride, self._pools[0])
            self._outputs = _lent(MAX_CALLS * self._out_stride, self._pools[1])
            self._kept = torch.empty_like(self._inputs)
        except torch.cuda.OutOfMemoryError as error:
            need = MAX_CALLS * (2 * self._in_stride + self._out_stride) >> 20
            raise ScorerError(f"the judge needs {need} MiB of device memory; free some, or use another GPU") from error
        self.sample = NoSample()
        self.input_fd = _sealed(
            _handle(self._inputs) + _handle(self._outputs) + _u64(self._in_stride) + _u64(self._out_stride)
        )
        self.output_fd = os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC)

    def place(self, shape: Configuration, scale: float, shift: Tensor) -> Block:
        """Lay out a block: fresh normal inputs at fresh addresses, poisoned outputs, guards.

        `shift` [heads_kv * head_dim] is added to every row of v.
        """
        poison = 0x7FC07FC0 | (secret()[0] & 0x003F003F)
        offset = {name: self._starts[name] + GUARD_BYTES + _shift() for name in ("q", "k", "v", "o")}
        generator = torch.Generator(device="cuda").manual_seed(secret()[0] >> 1)
        self._outputs.view(torch.int32).fill_(poison)
        calls = tuple(self._tensors(i, offset, shape) for i in range(calls_of(shape)))
        for call in calls:
            for tensor in (call.q, call.k, call.v):
                tensor.normal_(generator=generator)
            call.v.add_(shift.to(call.v).view(shape.heads_kv, shape.head_dim))
        request = Request(
            *secret(), *(offset[n] for n in "qkvo"), shape.batch, shape.heads_q, shape.heads_kv, shape.seqlen,
            shape.head_dim, int(shape.causal), scale, len(calls),
        )  # fmt: skip
        return Block(shape, request.scale, calls, request, poison)

    def keep(self) -> None:
        """Remember the inputs as they are handed over."""
        self._kept.copy_(self._inputs)
        torch.cuda.synchronize()

    def inputs_changed(self) -> bool:
        """Whether a worker wrote to the inputs."""
        return not torch.equal(self._kept.view(torch.int64), self._inputs.view(torch.int64))

    def disturbed_guards(self, block: Block) -> int:
        """How many 32-bit words beside the outputs were written."""
        words = self._outputs.view(torch.int32)[: block.count * self._out_stride // 4].view(block.count, -1)
        begin = int(block.request.o) // 4
        end = begin + block.shape.query_elements * self._dtype.itemsize // 4
        beside = (words[:, :begin], words[:, end:])
        return sum(int((part != block.poison).sum()) for part in beside)

    def close(self) -> None:
        """Release the descriptors; the memory goes with the tensors."""
        os.close(self.input_fd)
        os.close(self.output_fd)

    def _tensors(self, index: int, offset: dict[str, int], shape: Configuration) -> Tensors:
        made = {name: self._view(name, index, offset[name], shape) for name in ("q", "k", "v", "o")}
        return Tensors(**made)

    def _view(self, name: str, index: int, offset: int, shape: Configuration) -> Tensor:
        memory, stride = (self._outputs, self._out_stride) if name == "o" else (self._inputs, self._in_stride)
        heads = shape.heads_q if name in "qo" else shape.heads_kv
        size = shape.batch * shape.seqlen * heads * shape.head_dim * self._dtype.itemsize
        begin = index * stride + offset
        flat = memory[begin : begin + size].view(self._dtype)
        return flat.view(shape.batch, shape.seqlen, heads, shape.head_dim)


def calls_of(shape: Configuration) -> int:
    """How many calls a block of this shape holds: fixed by the shape, never by a measured time."""
    if shape.holdout:
        return 1
    return max(1, min(MAX_CALLS, round(BLOCK_S / (shape.flops / EXPECTED_FLOPS))))


def _region(size: int) -> int:
    whole = size + 2 * GUARD_BYTES + SLACK_BYTES
    return (whole + 4095) // 4096 * 4096


def _shift() -> int:
    return ALIGNMENT * _RANDOM.randrange(SLACK_BYTES // ALIGNMENT)


def _lent(size: int, pool: torch.cuda.MemPool) -> Tensor:
    """Bytes of the device in `pool`."""
    with torch.cuda.use_mem_pool(pool):
        return torch.empty(size, dtype=torch.uint8, device="cuda")


def _u64(value: int) -> bytes:
    return value.to_bytes(8, "little")


def _sealed(data: bytes) -> int:
    fd = os.memfd_create("avo-handles", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    os.write(fd, data)
    fcntl.fcntl(fd, _SEALS, _SEAL_ALL)
    return fd


def _handle(memory: Tensor) -> bytes:
    """The IPC handle (64 bytes) of an allocation of its own. Raises ScorerError when memory cannot be shared."""
    base, size = ctypes.c_uint64(), ctypes.c_size_t()
    driver = ctypes.CDLL("libcuda.so.1")
    at = ctypes.c_uint64(memory.data_ptr())
    if driver.cuMemGetAddressRange_v2(ctypes.byref(base), ctypes.byref(size), at) or base.value != at.value:
        raise ScorerError("device memory is not an allocation of its own; unset PYTORCH_CUDA_ALLOC_CONF")
    handle = ctypes.create_string_buffer(64)
    if code := driver.cuIpcGetMemHandle(handle, at):
        raise ScorerError(f"CUDA IPC is not available here (driver error {code}); the judge needs it")
    return handle.raw
