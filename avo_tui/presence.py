"""Presence: who is looking at a run now, each named. A viewer holds a lock on a small file; the lock ends with it.

One rule: looking costs the run nothing. Nothing is written but that file when a viewer comes, nothing at all while it
stays, and never into the journal, which belongs to the engine and to commands. A viewer that died without a word has
lost its lock, and the next one to look takes its file away.
"""

from __future__ import annotations

import fcntl
import json
import os
import time
from collections import Counter
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, Self

from engine.record.commands import this_person
from engine.record.frozen import dataclass

How = Literal["room", "plain", "browser"]
_SUFFIX = ".lock"  # archives leave such files out
_LONGEST, _NAME = 4096, 64  # bytes of a file, letters of a name that are read


@dataclass(frozen=True, slots=True)
class Looker:
    """One viewer: its person, process and host, how it looks, since when (seconds since the epoch)."""

    person: str
    host: str
    pid: int
    how: str
    readonly: bool
    since: float

    @property
    def here(self) -> bool:
        """Whether this is the process that asks."""
        return (self.host, self.pid) == (os.uname().nodename, os.getpid())


class Presence:
    """This process among a run's viewers, from `come` until `leave` or its end. A folder that cannot be written to is
    no error: then nobody knows of this viewer.
    """

    def __init__(self, run: Path, *, how: How = "room", readonly: bool = False) -> None:
        self._folder, self._how, self._readonly = _folder(run), how, readonly
        self._path: Path | None = None
        self._fd = -1

    def __enter__(self) -> Self:
        self.come()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self.leave()

    def come(self) -> None:
        """Be seen; again after the run's folder was away. Locked first and named then, so that nobody takes it away."""
        if self._path is not None and self._path.exists():
            return
        self.leave()
        me = Looker(this_person(), os.uname().nodename, os.getpid(), self._how, self._readonly, time.time())
        path = self._folder / f"{me.host}-{me.pid}-{id(self):x}{_SUFFIX}"
        with suppress(OSError):
            if self._folder.parent.is_dir():
                self._folder.mkdir(mode=0o700, exist_ok=True)
            fresh = path.with_suffix(".new")
            self._fd = os.open(fresh, os.O_CREAT | os.O_WRONLY | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
            fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            os.write(self._fd, json.dumps(asdict(me)).encode())
            fresh.rename(path)
            self._path = path

    def leave(self) -> None:
        """Be seen no longer."""
        if self._path is not None:
            with suppress(OSError):
                self._path.unlink(missing_ok=True)
        if self._fd >= 0:
            os.close(self._fd)
        self._path, self._fd = None, -1


def lookers(run: Path) -> tuple[Looker, ...]:
    """Who looks at a run now, the longest-standing first. What dead viewers left is taken away."""
    found = []
    with suppress(OSError):
        for entry in os.scandir(_folder(run)):
            if entry.name.endswith(_SUFFIX) and (looker := _looker(entry.path)) is not None:
                found.append(looker)
    return tuple(sorted(found, key=lambda one: (one.since, one.pid)))


def _looker(path: str) -> Looker | None:
    """Who holds a file; None, and the file is gone, when nobody does."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
    except OSError:
        return None
    try:
        fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return _read(os.read(fd, _LONGEST))
    except OSError:  # a file system without locks: nobody can be told from the dead
        return None
    else:
        with suppress(OSError):
            Path(path).unlink()
        return None
    finally:
        os.close(fd)


def _read(text: bytes) -> Looker | None:
    try:
        data: Any = json.loads(text)
        person = "".join(letter for letter in str(data["person"])[:_NAME] if letter.isprintable())
        return Looker(
            person, str(data["host"]), int(data["pid"]), str(data["how"]), bool(data["readonly"]),
            float(data["since"]),
        )  # fmt: skip
    except (ValueError, KeyError, TypeError):
        return None


def names(of: Iterable[Looker]) -> list[str]:
    """Their persons, each once, with how many viewers of theirs there are: `ada`, `bob ×2`."""
    return [person if n == 1 else f"{person} ×{n}" for person, n in Counter(one.person for one in of).items()]


def _folder(run: Path) -> Path:
    return run / "viewers"
