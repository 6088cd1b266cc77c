"""The shared memory of a CPU judge and its workers: two memfds, one sealed against the workers' writes.

One rule: every call lies at other addresses, between guard bands, with other secret bytes. A CUDA judge puts another
class with these methods here (buffers exported by CUDA IPC); nothing else of the judge touches memory.
"""

from __future__ import annotations

import ctypes
import fcntl
import mmap
import os
import random
from collections.abc import Sequence

from engine.record.errors import ScorerError
from engine.record.frozen import dataclass
from engine.scorer.hands import Block, Hands, Request, Sample, secret
from engine.scorer.problem import Configuration

GUARD_BYTES = 64 << 10
SLACK_BYTES = 256 << 10
ALIGNMENT = 64
_ADD_SEALS, _SEAL_SEAL, _SEAL_SHRINK, _SEAL_GROW, _SEAL_FUTURE_WRITE = 1033, 1, 2, 4, 16
_RANDOM = random.SystemRandom()


@dataclass(frozen=True, slots=True)
class Placement:
    """One call: where its float32 tensors lie in the judge's memory, and the poison that its output held before it.

    q and o are [batch, seqlen, heads_q, head_dim], k and v [batch, seqlen, heads_kv, head_dim], contiguous.
    """

    shape: Configuration
    scale: float
    q: int
    k: int
    v: int
    o: int
    request: Request
    poison: int


class Arena:
    """Memory for the largest shape of a problem. `input_fd` and `output_fd` are for the worker."""

    def __init__(self, shapes: tuple[Configuration, ...], hands: Hands, threads: int) -> None:
        self._hands = hands
        self._threads = threads
        q = _region(max(s.query_elements for s in shapes))
        kv = _region(max(s.key_elements for s in shapes))
        self._starts = {"q": 0, "k": q, "v": q + kv, "o": 0}
        self.input_fd, self._inputs = _memory("avo-in", q + 2 * kv, sealed=True)
        self.output_fd, self._outputs = _memory("avo-out", q, sealed=False)
        self._in_at, self._out_at = _address(self._inputs), _address(self._outputs)
        self._bytes = {"in": q + 2 * kv, "out": q}
        self.sample = Sample()

    def place(self, shape: Configuration, scale: float, shift: Sequence[float]) -> Placement:
        """Lay out one call: fresh random inputs at fresh addresses, poison in the output, guards around everything.

        `shift` [heads_kv * head_dim] is added to every row of v.
        """
        poison = 0x7FC00000 | (secret()[0] & 0x3FFFFF)
        offset = {name: self._starts[name] + GUARD_BYTES + _shift() for name in ("q", "k", "v", "o")}
        counts = {"q": shape.query_elements, "k": shape.key_elements, "v": shape.key_elements}
        at = {name: (self._out_at if name == "o" else self._in_at) + offset[name] for name in offset}
        blocks = {name: Block(at[name], count, None, 1) for name, count in counts.items()}
        added = (ctypes.c_float * len(shift))(*shift)
        blocks["v"].shift, blocks["v"].period = ctypes.addressof(added), len(shift)
        self._hands.fill(list(blocks.values()), threads=self._threads)
        for block in blocks.values():
            self._guard(block.out, block.count, poison)
        self._hands.poison(at["o"] - GUARD_BYTES, shape.query_elements + 2 * (GUARD_BYTES // 4), poison)
        self._hands.choose(self.sample, shape.query_elements)
        request = Request(
            *secret(), *(offset[n] for n in "qkvo"), shape.batch, shape.heads_q, shape.heads_kv, shape.seqlen,
            shape.head_dim, int(shape.causal), scale, 0,
        )  # fmt: skip
        return Placement(shape, request.scale, **at, request=request, poison=poison)

    def disturbed_guards(self, placement: Placement) -> int:
        """How many words beside the output were written."""
        words, begin = GUARD_BYTES // 4, placement.o
        before = self._hands.disturbed(begin - GUARD_BYTES, words, placement.poison)
        return before + self._hands.disturbed(begin + 4 * placement.shape.query_elements, words, placement.poison)

    def remember(self, placement: Placement) -> None:
        """Take the sample now; for a trusted baseline, which answers only once it is done."""
        self._hands.take(placement.o, self.sample)

    def changed_since_reply(self, placement: Placement) -> int:
        """How many sampled elements of the output changed after the worker said it was done."""
        return self._hands.changed(placement.o, self.sample)

    def first_not_finite(self, placement: Placement) -> int | None:
        """Index of the first NaN or infinity in the output."""
        return self._hands.first_not_finite(placement.o, placement.shape.query_elements)

    def close(self) -> None:
        """Release the descriptors; the memory goes with the last view of it."""
        os.close(self.input_fd)
        os.close(self.output_fd)

    def _guard(self, address: int, count: int, poison: int) -> None:
        words = 1024
        self._hands.poison(address - 4 * words, words, poison)
        self._hands.poison(address + 4 * count, words, poison)


def _region(elements: int) -> int:
    size = 4 * elements + 2 * GUARD_BYTES + SLACK_BYTES
    return (size + 4095) // 4096 * 4096


def _shift() -> int:
    return ALIGNMENT * _RANDOM.randrange(SLACK_BYTES // ALIGNMENT)


def _memory(name: str, size: int, *, sealed: bool) -> tuple[int, mmap.mmap]:
    try:
        fd = os.memfd_create(name, os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
        os.ftruncate(fd, size)
        memory = mmap.mmap(fd, size, flags=mmap.MAP_SHARED | getattr(mmap, "MAP_POPULATE", 0))
        seals = _SEAL_SHRINK | _SEAL_GROW | _SEAL_SEAL | (_SEAL_FUTURE_WRITE if sealed else 0)
        fcntl.fcntl(fd, _ADD_SEALS, seals)
    except OSError as error:
        raise ScorerError(f"shared memory of {size >> 20} MiB: {error.strerror}; free some memory") from error
    return fd, memory


def _address(memory: mmap.mmap) -> int:
    return ctypes.addressof(ctypes.c_char.from_buffer(memory))
