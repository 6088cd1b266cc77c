"""What a running worker costs its processor: hardware counters and samples, through perf_event_open(2).

One rule: a machine that does not let us count (no counters in a virtual machine, a container's filter,
perf_event_paranoid) is told in words; no figure is ever made up and no zero stands for an absence.
"""

from __future__ import annotations

import ctypes
import errno
import mmap
import os
import struct
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import TracebackType

from engine.record.frozen import dataclass

NUMBERS = {"x86_64": 298, "aarch64": 241}  # perf_event_open in each architecture's system call table
SAMPLES_PER_S = 1997  # a prime: no loop of a candidate keeps step with it
RING_PAGES = 64
_HARDWARE, _SOFTWARE, _CACHE = 0, 1, 3  # perf_event_open(2): type
_TASK_CLOCK = (_SOFTWARE, 1)
_CYCLES = (_HARDWARE, 0)
COUNTED = {
    "cycles": _CYCLES,
    "instructions": (_HARDWARE, 1),
    "cache_misses": (_HARDWARE, 3),
    "branch_misses": (_HARDWARE, 5),
    "l1_misses": (_CACHE, 1 << 16),
    "tlb_misses": (_CACHE, 1 << 16 | 3),
    "processor_ns": _TASK_CLOCK,
    "page_faults": (_SOFTWARE, 2),
}
HARDWARE = tuple(name for name, (kind, _) in COUNTED.items() if kind != _SOFTWARE)
_INHERIT, _NO_KERNEL, _NO_HYPERVISOR, _FREQUENCY = 1 << 1, 1 << 5, 1 << 6, 1 << 10
_ADDRESSES, _TIMES = 1, 3  # sample_type IP; read_format TOTAL_TIME_ENABLED | TOTAL_TIME_RUNNING
_SAMPLE = 9  # PERF_RECORD_SAMPLE
_HEAD = 1024  # perf_event_mmap_page.data_head
_CLOSE_ON_EXEC = 8


@dataclass(frozen=True, slots=True)
class Place:
    """Where a sample fell: the file's name and the address that its own listing gives it; "" when it is in no file."""

    file: str
    address: int


class Watch:
    """Counts and samples one process and every thread that it starts from now on, in user code only.

    Open it on a worker that has not run yet: threads that exist already are not seen.
    `absent` says why there are no hardware counters ("" when there are), `unsampled` why there are no samples.
    """

    def __init__(self, pid: int) -> None:
        self._pid = pid
        self._fds: dict[str, int] = {}
        self._rings: list[tuple[int, mmap.mmap]] = []
        self.absent = self.unsampled = ""
        for name, event in COUNTED.items():
            fd, why = _open(event, pid)
            if fd is not None:
                self._fds[name] = fd
            elif name in HARDWARE:
                self.absent = self.absent or why
        if any(name in self._fds for name in HARDWARE):
            self.absent = ""
        self.clock = "cycles" if "cycles" in self._fds else "processor time"
        self._sample(_CYCLES if "cycles" in self._fds else _TASK_CLOCK)

    def __enter__(self) -> Watch:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for _, ring in self._rings:
            ring.close()
        for fd in (*self._fds.values(), *(fd for fd, _ in self._rings)):
            os.close(fd)
        self._fds, self._rings = {}, []

    def counts(self) -> dict[str, float]:
        """Each counter so far. One that shared the hardware's few counters with others is scaled to the whole time."""
        found = {}
        for name, fd in self._fds.items():
            value, enabled, running = struct.unpack("QQQ", os.read(fd, 24))
            if running:
                found[name] = value * enabled / running
        return found

    def places(self) -> list[Place]:
        """Where the samples so far fell. The process must still be there: its mappings name the files."""
        mapped = _mapped(self._pid)
        return [_place(address, mapped) for _, ring in self._rings for address in _addresses(ring)]

    def _sample(self, event: tuple[int, int]) -> None:
        """One ring for each processor: threads born later write into the ring of the processor they run on."""
        for processor in sorted(os.sched_getaffinity(0)):
            fd, self.unsampled = _open(event, self._pid, processor, sampled=True)
            if fd is None:
                return
            try:
                self._rings.append((fd, mmap.mmap(fd, (1 + RING_PAGES) * mmap.PAGESIZE)))
            except OSError as error:
                os.close(fd)
                self.unsampled = f"no room for samples: {error.strerror}"
                return


def per_thousand(counts: Mapping[str, float], name: str) -> float | None:
    """Events for every thousand instructions."""
    if name not in counts or not counts.get("instructions"):
        return None
    return 1e3 * counts[name] / counts["instructions"]


def _open(event: tuple[int, int], pid: int, processor: int = -1, *, sampled: bool = False) -> tuple[int | None, str]:
    """A descriptor, or None and why there is none."""
    number = NUMBERS.get(os.uname().machine)
    if number is None:
        return None, f"perf_event_open is not known here for {os.uname().machine}"
    flags = _INHERIT | _NO_KERNEL | _NO_HYPERVISOR | (_FREQUENCY if sampled else 0)
    rate, kind, times = (SAMPLES_PER_S, _ADDRESSES, 0) if sampled else (0, 0, _TIMES)
    attributes = struct.pack("IIQQQQQIIQ", event[0], 64, event[1], rate, kind, times, flags, 0, 0, 0)
    libc = ctypes.CDLL(None, use_errno=True)
    fd = libc.syscall(number, ctypes.create_string_buffer(attributes, 64), pid, processor, -1, _CLOSE_ON_EXEC)
    return (fd, "") if fd >= 0 else (None, _why(ctypes.get_errno()))


def _why(code: int) -> str:
    if code in {errno.ENOENT, errno.ENODEV, errno.EOPNOTSUPP}:
        return "this machine shows no hardware counters (most virtual machines do not)"
    if code in {errno.EACCES, errno.EPERM}:
        return f"not allowed here (perf_event_paranoid is {_paranoid()}, and a container may forbid it)"
    return f"perf_event_open failed: {os.strerror(code)}"


def _paranoid() -> str:
    try:
        return Path("/proc/sys/kernel/perf_event_paranoid").read_text("utf-8").strip()
    except OSError:
        return "not shown"


def _addresses(ring: mmap.mmap) -> Iterator[int]:
    """The samples of a ring. It is read once and never emptied: what does not fit is dropped by the kernel."""
    (head,) = struct.unpack_from("Q", ring, _HEAD)
    at = mmap.PAGESIZE
    end = min(mmap.PAGESIZE + head, len(ring))
    while at + 16 <= end:
        kind, _, size, address = struct.unpack_from("IHHQ", ring, at)
        if size < 8:
            return
        if kind == _SAMPLE:
            yield address
        at += size


def _mapped(pid: int) -> list[tuple[int, int, int, str]]:
    """(begin, end, where the file's address 0 lies, file name) of each mapping of a file, from proc(5)."""
    try:
        lines = Path(f"/proc/{pid}/maps").read_text("utf-8", "replace").splitlines()
    except OSError:
        return []
    found: list[tuple[int, int, int, str]] = []
    zero: dict[str, int] = {}
    for line in lines:
        parts = line.split(maxsplit=5)
        if len(parts) == 6 and parts[5].startswith("/"):
            begin, end = (int(bound, 16) for bound in parts[0].split("-"))
            found.append((begin, end, zero.setdefault(parts[5], begin), parts[5].rpartition("/")[2]))
    return found


def _place(address: int, mapped: list[tuple[int, int, int, str]]) -> Place:
    return next(
        (Place(name, address - zero) for begin, end, zero, name in mapped if begin <= address < end), Place("", 0)
    )
