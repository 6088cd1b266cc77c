"""Liveness: is the engine of a run alive, and what state is the run in.

A heartbeat says what the engine last wrote; only the process table says that it lives. A pid counts
together with its start time and the machine's boot, because pids are used again.
"""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import TYPE_CHECKING, cast

from engine.record.frozen import dataclass

if TYPE_CHECKING:
    from engine.record.events import RunState
    from engine.record.reader import Engine

FOREIGN_SILENT_S = 30.0


@dataclass(frozen=True, slots=True)
class Identity:
    """One process, told apart from every other: pid, start (clock ticks since boot), boot and host."""

    pid: int
    started: float
    boot: str
    host: str


def identity(pid: int | None = None) -> Identity:
    """Who a process is (this one by default). `started` is 0 where there is no /proc."""
    pid = os.getpid() if pid is None else pid
    return Identity(pid, start_ticks(pid) or 0.0, boot_id(), os.uname().nodename)


def start_ticks(pid: int) -> float | None:
    """When a process started (proc(5), stat field 22); None when there is no such process or it is a zombie."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text("ascii", "replace").rpartition(")")[2].split()
    except OSError:
        return None
    return None if fields[0] in "ZX" else float(fields[19])


def boot_id() -> str:
    """This boot of this machine, or "" where the kernel does not say."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text("ascii").strip()
    except OSError:
        return ""


def process_alive(who: Identity) -> bool:
    """Whether exactly this process still runs on this machine."""
    if who.boot != boot_id() or who.host != os.uname().nodename:
        return False
    if Path("/proc/self/stat").exists():
        return start_ticks(who.pid) == who.started
    try:
        os.kill(who.pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def engine_alive(engine: Engine | None, now: float | None = None) -> bool:
    """Whether the engine that last beat is alive.

    On another host (a shared file system) only its heartbeat can tell: silent for 30 s counts as dead.
    """
    if engine is None or not engine.host:  # an archived run keeps no host
        return False
    if engine.host != os.uname().nodename:
        return (time.time() if now is None else now) - engine.heartbeat_at < FOREIGN_SILENT_S
    return process_alive(Identity(engine.pid, engine.started, engine.boot, engine.host))


def run_state(engine: Engine | None, now: float | None = None) -> RunState:
    """The run's state: what its engine said, unless it died without saying so."""
    if engine is None:
        return "crashed"
    if engine.state == "finished" or engine_alive(engine, now):
        return cast("RunState", engine.state)
    return "crashed"


def silent_s(engine: Engine, now: float | None = None) -> float:
    """How long the engine has given no sign of life, in seconds; never negative."""
    return max(0.0, (time.time() if now is None else now) - engine.heartbeat_at)
