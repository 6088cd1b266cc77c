"""Every process that the scorer starts, so that a cancel, a timeout or a signal can end them all at once.

One rule: a child lives in its own session and is killed with everything in it.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import selectors
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from engine.record.errors import ScorerError
from engine.record.frozen import dataclass
from engine.scorer.failure import Cancelled
from engine.scorer.sandbox import Sandbox

Heard = Callable[[bytes], None]
SWEEP_S = 5.0


@dataclass(frozen=True, slots=True)
class Done:
    """How a program ended: its status (negative: a signal), its output (both streams, capped), and whether in time."""

    code: int
    output: bytes
    timed_out: bool
    seconds: float


class Children:
    """The scorer's live child processes, and the sandbox that they are started in."""

    def __init__(self, sandbox: Sandbox) -> None:
        self.sandbox = sandbox
        self._live: set[int] = set()
        self._lock = threading.Lock()
        self._cancelled = threading.Event()

    def start(
        self,
        argv: Sequence[str],
        *,
        env: Mapping[str, str],
        cwd: Path | None = None,
        pass_fds: Sequence[int] = (),
        output: int | None = None,
    ) -> subprocess.Popen[bytes]:
        """Start a program in its own session. Raises ScorerError when it cannot start, Cancelled after a cancel."""
        self.check()
        stream = subprocess.PIPE if output is None else output
        try:
            process = subprocess.Popen(
                argv,
                stdin=subprocess.DEVNULL,
                stdout=stream,
                stderr=subprocess.STDOUT,
                env=dict(env),
                cwd=cwd,
                pass_fds=tuple(pass_fds),
                start_new_session=True,
            )
        except OSError as error:
            raise ScorerError(f"{argv[0]}: {error.strerror}; it could not be started") from error
        with self._lock:
            self._live.add(process.pid)
        return process

    def end(self, process: subprocess.Popen[bytes], *, grace_s: float = 0.0) -> int:
        """Kill a child with its session, and whatever it left behind. Returns its status.

        `grace_s` lets one that is ending end by itself first, so that its status tells why.
        """
        if grace_s > 0.0:
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(grace_s)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        code = process.wait()
        with self._lock:
            self._live.discard(process.pid)
        self.sweep()
        return code

    def sweep(self) -> None:
        """Kill and reap orphans: as a child subreaper we inherit what sandboxed programs leave behind.

        Each death hands us what that one had forked, so it goes round until nobody is left.
        """
        end = time.monotonic() + SWEEP_S
        while (orphans := _own_children() - self._live) and time.monotonic() < end:
            for pid in orphans:
                with contextlib.suppress(ProcessLookupError, PermissionError):
                    os.kill(pid, signal.SIGKILL)
                with contextlib.suppress(ChildProcessError):
                    os.waitpid(pid, 0)

    def run(
        self,
        argv: Sequence[str],
        *,
        env: Mapping[str, str],
        cwd: Path | None = None,
        pass_fds: Sequence[int] = (),
        timeout_s: float,
        limit: int,
        heard: Heard | None = None,
    ) -> Done:
        """Run a program to its end, keeping at most `limit` bytes of its output; `heard` gets them as they come."""
        begin = time.monotonic()
        process = self.start(argv, env=env, cwd=cwd, pass_fds=pass_fds)
        output, timed_out = _drain(process, begin + timeout_s, limit, heard)
        if timed_out:
            code = self.end(process)
        else:
            code = process.wait()
            self.end(process)
        assert process.stdout is not None
        process.stdout.close()
        self.check()
        return Done(code, output, timed_out, time.monotonic() - begin)

    def check(self) -> None:
        """Raise Cancelled when the request was withdrawn."""
        if self._cancelled.is_set():
            raise Cancelled

    def cancel(self) -> None:
        """Kill everything and make the current request end with Cancelled."""
        self._cancelled.set()
        self.kill_all()

    def reset(self) -> None:
        """Forget an earlier cancel; the next request begins."""
        self._cancelled.clear()

    def kill_all(self) -> None:
        """SIGKILL every child's session."""
        with self._lock:
            for pid in self._live:
                with contextlib.suppress(ProcessLookupError, PermissionError):
                    os.killpg(pid, signal.SIGKILL)


def become_subreaper() -> None:
    """Make orphaned descendants our children, so that none escapes the sweep (prctl(2), PR_SET_CHILD_SUBREAPER)."""
    ctypes.CDLL(None).prctl(36, 1, 0, 0, 0)


def _own_children() -> set[int]:
    found: set[int] = set()
    for task in Path("/proc/self/task").iterdir():
        with contextlib.suppress(OSError):
            found.update(int(pid) for pid in (task / "children").read_text().split())
    return found


def _drain(process: subprocess.Popen[bytes], deadline: float, limit: int, heard: Heard | None) -> tuple[bytes, bool]:
    """Read a program's output until it closes it or the deadline passes."""
    assert process.stdout is not None
    kept = bytearray()
    with selectors.DefaultSelector() as selector:
        selector.register(process.stdout, selectors.EVENT_READ)
        while (left := deadline - time.monotonic()) > 0:
            if not selector.select(min(left, 0.5)):
                if process.poll() is not None:
                    return bytes(kept), False
                continue
            data = os.read(process.stdout.fileno(), 1 << 16)
            if not data:
                with contextlib.suppress(subprocess.TimeoutExpired):
                    process.wait(max(deadline - time.monotonic(), 0.0))
                return bytes(kept), process.poll() is None
            new = data[: max(0, limit - len(kept))]
            kept += new
            if heard is not None and new:
                heard(new)
    return bytes(kept), True
