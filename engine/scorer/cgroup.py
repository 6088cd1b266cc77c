"""A cgroup for what the scorer runs, where this process may make one: caps on memory and processes, one kill for all.

One rule: it is a second belt. Nothing relies on it, because most machines do not delegate one.
"""

from __future__ import annotations

import atexit
import contextlib
import os
import signal
import time
from functools import cache
from pathlib import Path

from engine.record.frozen import dataclass

_ROOT = Path("/sys/fs/cgroup")
MOST_PROCESSES = 4096


@dataclass(frozen=True, slots=True)
class Group:
    """One group, as the folders that hold it (one with cgroup v2, one per controller with v1)."""

    folders: tuple[Path, ...]

    def options(self) -> list[str]:
        """As options of confine.c."""
        return [part for folder in self.folders for part in ("--cgroup", str(folder / "cgroup.procs"))]

    def kill(self) -> None:
        """SIGKILL everything in the group."""
        for folder in self.folders:
            with contextlib.suppress(OSError):
                if (folder / "cgroup.kill").exists():
                    (folder / "cgroup.kill").write_text("1")
                for pid in (folder / "cgroup.procs").read_text().split():
                    with contextlib.suppress(ProcessLookupError):
                        os.kill(int(pid), signal.SIGKILL)

    def remove(self) -> None:
        """Kill what is left and take the group away."""
        for attempt in range(20):
            self.kill()
            for folder in self.folders:
                with contextlib.suppress(OSError):
                    folder.rmdir()
            if not any(folder.exists() for folder in self.folders):
                return
            time.sleep(0.002 * (attempt + 1))


@cache
def create() -> Group | None:
    """A group of this process's own, removed when it exits; None where there is none to be had."""
    memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") * 3 // 4
    name = f"avo-{os.getpid()}"
    _remove_stale()
    group = _version2(name, memory) or _version1(name, memory)
    if group is not None:
        atexit.register(group.remove)
    return group


def _remove_stale() -> None:
    """Take away the groups of scorers that were killed: nothing of theirs may live on, or run beside a measurement."""
    for folder in (_ROOT, _ROOT / "memory", _ROOT / "pids"):
        for group in folder.glob("avo-*") if folder.is_dir() else ():
            pid = group.name.removeprefix("avo-")
            if pid.isdigit() and not Path("/proc", pid).exists():
                Group((group,)).remove()


def _version2(name: str, memory: int) -> Group | None:
    try:
        if not {"memory", "pids"} <= set((_ROOT / "cgroup.subtree_control").read_text().split()):
            return None
        folder = _ROOT / name
        folder.mkdir()
        (folder / "memory.max").write_text(str(memory))
        (folder / "pids.max").write_text(str(MOST_PROCESSES))
    except OSError:
        return None
    return Group((folder,))


def _version1(name: str, memory: int) -> Group | None:
    limits = {"memory": ("memory.limit_in_bytes", memory), "pids": ("pids.max", MOST_PROCESSES)}
    made: list[Path] = []
    try:
        for controller, (file, value) in limits.items():
            folder = _ROOT / controller / name
            folder.mkdir()
            made.append(folder)
            (folder / file).write_text(str(value))
    except OSError:
        for folder in made:
            with contextlib.suppress(OSError):
                folder.rmdir()
        return None
    return Group(tuple(made))
