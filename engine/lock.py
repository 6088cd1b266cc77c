"""The lock: one engine for each run. Held with flock for the life of the process, so a killed engine lets go."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path

from engine.record.errors import JournalError, RunLocked
from engine.record.run import RunFolder


def take(folder: RunFolder) -> int:
    """Lock the run and write this pid into engine.lock; returns the descriptor to keep open.

    Raises RunLocked, which names the engine that holds it.
    """
    try:
        descriptor = os.open(folder.lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise JournalError(f"cannot write {folder.lock}: {error.strerror}; is the disk full or read-only?") from error
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        name = folder.name
        raise RunLocked(
            f"run {name} already has an engine (pid {_holder(folder.lock)}); "
            f"attach with 'avo attach {name}', or stop it first"
        ) from None
    os.ftruncate(descriptor, 0)
    os.write(descriptor, f"{os.getpid()}\n".encode())
    return descriptor


def _holder(lock: Path) -> str:
    return lock.read_text("ascii", "replace").strip() or "unknown"
