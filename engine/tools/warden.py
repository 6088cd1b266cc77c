"""The warden: runs one command and lets none of its processes outlive it. Standard library only; run as a script.

    python -I -S warden.py ENGINE_PID FILE_LIMIT_BYTES COMMAND [ARGUMENT...]

Processes that a command leaves behind, daemons included, become the warden's children (it is a child
subreaper) and are killed when the command ends, when the warden is told to stop, and when the engine dies.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import resource
import signal
import sys
import time
from pathlib import Path

PR_SET_PDEATHSIG, PR_SET_CHILD_SUBREAPER = 1, 36
SWEEP_S = 10.0


class Stopped(Exception):
    """The engine wants the command ended, or is gone."""


def main(argv: list[str]) -> int:
    """Run the command; returns its exit status, 128 + the signal's number when one ended it."""
    engine, file_limit, command = int(argv[0]), int(argv[1]), argv[2:]
    signal.signal(signal.SIGTERM, _stop)
    libc = ctypes.CDLL(None, use_errno=True)
    libc.prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    libc.prctl(PR_SET_PDEATHSIG, signal.SIGTERM, 0, 0, 0)
    status = 128 + signal.SIGTERM
    try:
        if os.getppid() == engine:
            status = _wait(_start(command, file_limit))
    except Stopped:
        pass
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    _sweep()
    return status


def _stop(number: int, frame: object) -> None:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    raise Stopped


def _start(command: list[str], file_limit: int) -> int:
    child = os.fork()
    if child:
        return child
    try:
        os.setsid()
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        signal.signal(signal.SIGPIPE, signal.SIG_DFL)
        signal.signal(signal.SIGXFSZ, signal.SIG_DFL)
        resource.setrlimit(resource.RLIMIT_FSIZE, (file_limit, file_limit))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        os.execvp(command[0], command)  # noqa: S606 the command is what the warden is for
    except OSError as error:
        os.write(2, f"{command[0]}: {error.strerror}\n".encode())
    os._exit(127)


def _wait(child: int) -> int:
    while True:
        pid, status = os.wait()
        if pid == child:
            code = os.waitstatus_to_exitcode(status)
            return code if code >= 0 else 128 - code


def _sweep() -> None:
    """Kill children until there are none. Each death hands its own children to the warden: go round again."""
    end = time.monotonic() + SWEEP_S
    while time.monotonic() < end:
        for pid in _children():
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.kill(pid, signal.SIGKILL)
        try:
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass
        except ChildProcessError:
            return
        time.sleep(0.002)


def _children() -> list[int]:
    """Our children (proc(5)), at once: a look at every process would be outrun by a chain of forks."""
    try:
        return [int(pid) for pid in Path(f"/proc/self/task/{os.getpid()}/children").read_text().split()]
    except FileNotFoundError:  # a kernel without CONFIG_PROC_CHILDREN
        me = os.getpid()
        return [int(p.name) for p in Path("/proc").iterdir() if p.name.isdigit() and _parent(p) == me]


def _parent(process: Path) -> int | None:
    try:
        return int((process / "stat").read_text().rpartition(")")[2].split()[1])
    except (OSError, IndexError, ValueError):
        return None


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
