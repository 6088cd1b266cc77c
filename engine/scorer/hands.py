"""The judge's C library (hands.c, inputs.c, exact.c, near.c) behind typed Python functions.

Addresses are plain integers; every function releases the interpreter's lock while it works.
"""

from __future__ import annotations

import ctypes
import os
from collections.abc import Sequence
from pathlib import Path

DONE, TIMED_OUT, GONE, FORGED, NOT_STOPPED, BROKEN = range(6)
COPIED_BYTES = 64 << 20
_NULL = ctypes.c_void_p(None)


class Request(ctypes.Structure):
    """One call, as the runner reads it from its pipe; q, k, v and o are byte offsets into the arenas."""

    _fields_ = (
        ("nonce", ctypes.c_uint64),
        ("q", ctypes.c_uint64),
        ("k", ctypes.c_uint64),
        ("v", ctypes.c_uint64),
        ("o", ctypes.c_uint64),
        ("batch", ctypes.c_int32),
        ("heads_q", ctypes.c_int32),
        ("heads_kv", ctypes.c_int32),
        ("seqlen", ctypes.c_int32),
        ("head_dim", ctypes.c_int32),
        ("causal", ctypes.c_int32),
        ("scale", ctypes.c_float),
        ("reserved", ctypes.c_uint32),
    )


class Reply(ctypes.Structure):
    """What the runner answers."""

    _fields_ = (("nonce", ctypes.c_uint64), ("status", ctypes.c_int32), ("reserved", ctypes.c_uint32))


class Block(ctypes.Structure):
    """One tensor to fill: where, how many floats, and what is added cyclically."""

    _fields_ = (
        ("out", ctypes.c_void_p),
        ("count", ctypes.c_size_t),
        ("shift", ctypes.c_void_p),
        ("period", ctypes.c_size_t),
    )


class Queries(ctypes.Structure):
    """One position of the queries at an address, as inputs.c reads it."""

    _fields_ = (
        ("q", ctypes.c_void_p),
        *((name, ctypes.c_int) for name in ("batch", "seqlen", "heads_q", "heads_kv", "head_dim", "position")),
    )


class Rows(ctypes.Structure):
    """Rows to check, as exact.c reads them: addresses of q, k, v and o, the shape, and where the errors go."""

    _fields_ = (
        *((name, ctypes.c_void_p) for name in ("q", "k", "v", "o")),
        *((name, ctypes.c_int) for name in ("batch", "heads_q", "heads_kv", "seqlen", "head_dim", "causal")),
        ("scale", ctypes.c_double),
        ("positions", ctypes.c_void_p),
        ("count", ctypes.c_size_t),
        ("errors", ctypes.c_void_p),
    )


def secret(words: int = 1) -> list[int]:
    """Fresh 64-bit numbers from the kernel's generator."""
    raw = os.urandom(8 * words)
    return [int.from_bytes(raw[8 * i : 8 * i + 8], "little") for i in range(words)]


class Hands:
    """The loaded library."""

    def __init__(self, library: Path) -> None:
        self._lib = ctypes.CDLL(str(library))
        self._lib.hands_disturbed.restype = ctypes.c_size_t
        self._lib.hands_changed.restype = ctypes.c_size_t
        self._lib.hands_first_not_finite.restype = ctypes.c_int64
        self._lib.hands_peak.restype = ctypes.c_double
        self._lib.hands_pace.restype = ctypes.c_double
        self._lib.hands_copy_rate.restype = ctypes.c_double

    def fill(self, blocks: Sequence[Block], *, threads: int) -> None:
        """Fresh N(0, 1) floats in every block."""
        seeds = (ctypes.c_uint64 * 16)(*secret(16))
        self._lib.hands_fill((Block * len(blocks))(*blocks), len(blocks), seeds, threads)

    def heat(self, at: Queries, factor: float) -> None:
        """Multiply one position's queries, in every batch and head."""
        self._lib.hands_heat(ctypes.byref(at), ctypes.c_float(factor))

    def align(self, at: Queries, keys: int, key: int, strength: float) -> None:
        """Make one position's queries `strength` times the key at a position of k, which lies at the address `keys`."""
        self._lib.hands_align(ctypes.byref(at), _at(keys), key, ctypes.c_float(strength))

    def row_errors(self, rows: Rows, *, threads: int, near: bool = False) -> None:
        """Write the row-relative L2 error of each row against float64, or float32 when `near`. Raises MemoryError."""
        errors = self._lib.near_errors if near else self._lib.exact_errors
        if errors(ctypes.byref(rows), threads) != 0:
            raise MemoryError("no memory left for the check of rows")

    def poison(self, address: int, words: int, pattern: int) -> None:
        """Write one 32-bit pattern over `words` words."""
        self._lib.hands_poison(_at(address), _size(words), ctypes.c_uint32(pattern))

    def disturbed(self, address: int, words: int, pattern: int) -> int:
        """How many of `words` words do not hold the pattern any more."""
        return int(self._lib.hands_disturbed(_at(address), _size(words), ctypes.c_uint32(pattern)))

    def first_not_finite(self, address: int, words: int) -> int | None:
        """Index of the first float that is NaN or infinite."""
        index = int(self._lib.hands_first_not_finite(_at(address), _size(words)))
        return None if index < 0 else index

    def peak_gflops(self, threads: int, milliseconds: int = 40) -> float:
        """float32 GFLOPS that fused multiply-adds on registers reach now, on so many threads."""
        return float(self._lib.hands_peak(threads, milliseconds))

    def copy_gb_s(self, threads: int) -> float:
        """Bytes read and written by the best of a few copies of COPIED_BYTES, in 1e9 a second; 0 without memory."""
        return float(self._lib.hands_copy_rate(threads, _size(COPIED_BYTES)))

    def pace(self, threads: int) -> float:
        """How long independent additions take, in dependent multiplications, on the busiest core we need; 0 unknown.

        It rises when somebody else uses the same core (its other hardware thread).
        """
        return float(self._lib.hands_pace(threads))

    def freeze(self, pid: int, timeout_s: float = 2.0) -> int:
        """Stop a process and wait until each of its threads has stopped."""
        return int(self._lib.hands_freeze(pid, ctypes.c_int64(int(timeout_s * 1e9))))

    def wait(self, fd: int, timeout_s: float) -> tuple[int, Reply]:
        """One reply, or why there is none."""
        reply = Reply()
        outcome = self._lib.hands_wait(fd, ctypes.byref(reply), ctypes.c_int64(int(timeout_s * 1e9)))
        return int(outcome), reply

    def call(
        self, pid: int, request_fd: int, reply_fd: int, request: Request, timeout_s: float, output: int, sample: Sample
    ) -> tuple[int, int]:
        """One timed call of a frozen worker. Returns (outcome, elapsed nanoseconds); it is frozen again."""
        elapsed = ctypes.c_int64()
        outcome = self._lib.hands_call(
            pid,
            request_fd,
            reply_fd,
            ctypes.byref(request),
            ctypes.c_int64(int(timeout_s * 1e9)),
            _at(output),
            sample.where,
            sample.early,
            _size(sample.count),
            ctypes.byref(elapsed),
        )
        return int(outcome), int(elapsed.value)

    def choose(self, sample: Sample, below: int) -> None:
        """Draw fresh random indices for a sample."""
        self._lib.hands_choose(sample.where, _size(sample.count), ctypes.c_uint64(below), ctypes.c_uint64(*secret()))

    def take(self, output: int, sample: Sample) -> None:
        """Copy the sampled elements as they are now."""
        self._lib.hands_take(_at(output), sample.where, sample.early, _size(sample.count))

    def changed(self, output: int, sample: Sample) -> int:
        """How many sampled elements are no longer what they were at the reply."""
        return int(self._lib.hands_changed(_at(output), sample.where, sample.early, _size(sample.count)))


class Sample:
    """Room for the elements that are copied at the moment of the reply."""

    def __init__(self, count: int = 4096) -> None:
        self.count = count
        self.where = (ctypes.c_uint32 * count)()
        self.early = (ctypes.c_uint32 * count)()


def _at(address: int) -> ctypes.c_void_p:
    return ctypes.c_void_p(address) if address else _NULL


def _size(count: int) -> ctypes.c_size_t:
    return ctypes.c_size_t(count)
