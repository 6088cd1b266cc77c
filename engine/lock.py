"""The lock: one engine for each run. Held with flock for the life of the process, so a killed engine lets go."""

from __future__ import annotations

import contextlib
import fcntl
import os
from pathlib import Path

from engine.record.errors import JournalError, RunLocked
from engine.record.run import RunFolder


def take(folder: RunFolder) -> int:
    """Lock the run and write this pid into engine.lock; returns the descriptor to keep open.

    Raises RunLocked, which names the engine that holds it.
    """
    name = folder.name
    return _take(
        folder.lock,
        f"run {name} already has an engine (pid {{pid}}); attach with 'avo attach {name}', or stop it first",
    )


def take_watch(folder: RunFolder) -> int:
    """Be the one watchdog of a run; as `take`."""
    return _take(folder.path / "watch.lock", f"run {folder.name} is watched already (pid {{pid}})")


def _take(path: Path, held: str) -> int:
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise JournalError(f"cannot write {path}: {error.strerror}; is the disk full or read-only?") from error
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        raise RunLocked(held.format(pid=_holder(path))) from None
    with contextlib.suppress(OSError):  # on a full disk the pid cannot be written; the lock holds all the same
        os.ftruncate(descriptor, 0)
        os.write(descriptor, f"{os.getpid()}\n".encode())
    return descriptor


def _holder(lock: Path) -> str:
    return lock.read_text("ascii", "replace").strip() or "unknown"
