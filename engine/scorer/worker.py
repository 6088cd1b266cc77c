"""One worker process: a candidate loaded by runner.c, frozen except while it answers a call.

One rule: nothing that a worker says is believed except that it answered; its crash, its silence and a second answer
are the candidate's failures.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import signal
from pathlib import Path
from typing import Protocol

from engine.record.errors import ScorerError
from engine.scorer.arena import Arena, Placement
from engine.scorer.children import Children
from engine.scorer.confined import Confined
from engine.scorer.failure import CandidateFailed, fail
from engine.scorer.hands import BROKEN, DONE, FORGED, GONE, NOT_STOPPED, TIMED_OUT, Hands
from engine.scorer.sandbox import worker_job
from engine.scorer.text import clean, one_line

OUTPUT_LIMIT = 64 << 10
START_TIMEOUT_S = 10.0


class Runs(Protocol):
    """Whoever answers calls: a candidate's worker, or a baseline in the judge."""

    def run(self, placement: Placement, timeout_s: float) -> float:
        """Answer one call into `placement.o`; returns the judge's own time in microseconds."""

    def close(self) -> None:
        """End it."""


class Worker:
    """A live candidate. Raises CandidateFailed when it cannot be loaded."""

    def __init__(
        self, runner: Path, library: Path, arena: Arena, hands: Hands, children: Children, *, threads: int
    ) -> None:
        self._arena, self._hands, self._children = arena, hands, children
        request_read, self._request = os.pipe()
        self._reply, reply_write = os.pipe()
        self._output = _capped_file()
        info_read, info_write = os.pipe()
        fds = (request_read, reply_write, arena.input_fd, arena.output_fd)
        try:
            job = self._job(runner, library, threads, fds, info_write)
            self._process = children.start(
                job.argv, env=job.env, cwd=Path(job.cwd), pass_fds=job.pass_fds, output=self._output
            )
        finally:
            for fd in (request_read, reply_write, info_write):
                os.close(fd)
        self._nested = job.nested
        self._pid = _inner_pid(info_read) if job.nested else self._process.pid
        os.close(info_read)
        try:
            self._loaded()
        except BaseException:
            self.close()
            raise

    def _job(self, runner: Path, library: Path, threads: int, fds: tuple[int, ...], info_fd: int) -> Confined:
        """The command line of the worker, in its sandbox."""
        sandbox = self._children.sandbox
        arguments = [*(f"{fd:03d}" for fd in fds), "0" if sandbox.unsafe else "1"]
        return worker_job(sandbox, runner, library, arguments, env=_environment(threads), fds=fds, info_fd=info_fd)

    def run(self, placement: Placement, timeout_s: float) -> float:
        """One timed call. Raises CandidateFailed for a crash, a timeout or a broken protocol."""
        outcome, elapsed_ns = self._hands.call(
            self._pid, self._request, self._reply, placement.request, timeout_s, placement.o, self._arena.sample
        )
        if outcome != DONE:
            raise self._failure(outcome, placement.shape.name, timeout_s)
        return elapsed_ns / 1e3

    @property
    def pid(self) -> int:
        """The process that runs the candidate, as this machine numbers it."""
        return self._pid

    def close(self) -> None:
        """Kill the worker and everything it started."""
        if self._request < 0:
            return
        if self._nested and self._process.poll() is None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self._pid, signal.SIGKILL)
        self._children.end(self._process)
        for fd in (self._request, self._reply, self._output):
            os.close(fd)
        self._request = -1

    def said(self) -> str:
        """What the candidate printed, cleaned and capped."""
        return clean(os.pread(self._output, OUTPUT_LIMIT, 0))

    def _loaded(self) -> None:
        outcome, reply = self._hands.wait(self._reply, START_TIMEOUT_S)
        if outcome == TIMED_OUT:
            raise fail("timeout", f"loading the candidate took longer than {START_TIMEOUT_S:g} s")
        if outcome == GONE:
            raise fail("crash", f"the candidate {self._how_it_ended()} while it was loaded", log=self.said())
        if outcome != DONE or reply.nonce != 0 or reply.status not in range(5):
            raise fail("integrity", "the worker said something other than 'ready' when it was loaded")
        if reply.status == 1:
            why = f" ({one_line(self.said())})" if self.said() else ""
            raise ScorerError(f"the worker could not map its shared memory{why}; free some memory")
        if reply.status == 4:
            raise ScorerError("the worker could not set its system call filter; this kernel has no seccomp")
        if reply.status == 2:
            raise fail("build", f"the library does not load: {one_line(self.said())}", log=self.said())
        if reply.status == 3:
            raise fail("build", 'the library exports no attention_forward; declare it extern "C" as avo_abi.h says')
        if self._hands.freeze(self._pid) != DONE:
            raise fail("crash", f"the candidate {self._how_it_ended()} after it was loaded", log=self.said())

    def _failure(self, outcome: int, configuration: str, timeout_s: float) -> CandidateFailed:
        self._children.check()
        if outcome == TIMED_OUT:
            return fail("timeout", f"one call took longer than {timeout_s:g} s and was stopped", configuration)
        if outcome == GONE:
            return fail("crash", f"the candidate {self._how_it_ended()}", configuration, log=self.said())
        if outcome == FORGED:
            return fail("integrity", "the worker sent a reply that was not asked for", configuration)
        if outcome == NOT_STOPPED:
            return fail("integrity", "threads of the candidate could not be stopped after its reply", configuration)
        assert outcome == BROKEN
        raise ScorerError("the pipe to the worker broke; run it again")

    def _how_it_ended(self) -> str:
        code = self._children.end(self._process, grace_s=2.0)
        if code > 128:  # as a shell reports a signal; so do bubblewrap, and runner.c of an abort
            code = 128 - code
        if code >= 0:
            return f"ended by itself with status {code}"
        name = signal.Signals(-code).name if -code in set(signal.Signals) else f"signal {-code}"
        hints = {
            "SIGSEGV": " (a bad address, or a write to q, k or v, which are read-only)",
            "SIGSYS": " (a forbidden system call: a kernel computes, it starts no processes and touches no files)",
        }
        return f"was killed by {name}{hints.get(name, '')}"


def _inner_pid(info_fd: int) -> int:
    """The pid that bubblewrap names on its info descriptor. Raises ScorerError when it never does."""
    said = b""
    while not said.rstrip().endswith(b"}"):
        data = os.read(info_fd, 4096)
        if not data:
            raise ScorerError("the sandbox did not start (bubblewrap said nothing); run `avo doctor`")
        said += data
    return int(json.loads(said)["child-pid"])


def _environment(threads: int) -> dict[str, str]:
    return {"PATH": "/usr/bin:/bin", "LC_ALL": "C", "OMP_NUM_THREADS": str(threads)}


def _capped_file() -> int:
    """A file in memory that cannot grow: a candidate may print a gigabyte, and 64 KiB of it are kept."""
    fd = os.memfd_create("avo-said", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    os.ftruncate(fd, OUTPUT_LIMIT)
    fcntl.fcntl(fd, 1033, 2 | 4 | 1)
    return fd
