"""Watch: sleeps until a file in one folder is written, until somebody rings, or until time is over.

On Linux the kernel says so at once (inotify) and nothing runs in between. Elsewhere watchfiles says it, which looks
several times a second. Where neither works (a network file system) only the time runs out, and whoever waits looks.
"""

from __future__ import annotations

import os
import select
import struct
import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import ctypes

# <sys/inotify.h>: a file was written, moved here or made; the folder itself is gone.
_MODIFY, _MOVED_TO, _CREATE, _IGNORED = 0x2, 0x80, 0x100, 0x8000
_HEAD = struct.Struct("iIII")  # which watch, what happened, a cookie, the bytes of the name that follows
_MOST = 1 << 16


class Watch:
    """Waits for files in `folder` whose names begin with `named`. Any thread may `ring`, one does the rest."""

    def __init__(self, folder: Path, named: str) -> None:
        self._folder, self._named = folder, named
        self._rung, self._ringer = os.pipe()
        os.set_blocking(self._rung, False)
        os.set_blocking(self._ringer, False)
        self._poll = select.poll()
        self._poll.register(self._rung, select.POLLIN)
        self._inotify = -1
        self._over = threading.Event()
        self._other: threading.Thread | None = None

    def begin(self) -> None:
        """Watch the folder that lies there now: the one before may have been moved away."""
        import ctypes  # a viewer's first picture does not wait for it

        self._forget()
        kernel = ctypes.CDLL(None)
        if hasattr(kernel, "inotify_init1"):
            self._ask(kernel)
        elif self._other is None:
            self._other = threading.Thread(target=_elsewhere, args=(self._folder, self._named, self.ring, self._over))
            self._other.start()

    def wait(self, seconds: float) -> bool:
        """Whether something was written or somebody rang within so many seconds."""
        woken = False
        for fd, _ in self._poll.poll(max(seconds, 0.0) * 1000):
            data = os.read(fd, _MOST)
            woken |= fd == self._rung or self._written(data)
        return woken

    def ring(self) -> None:
        """End the wait."""
        with suppress(OSError):  # a full pipe rings already, a closed one is heard by nobody
            os.write(self._ringer, b".")

    def close(self) -> None:
        """Watch no longer."""
        self._over.set()
        if self._other is not None:
            self._other.join()
        self._forget()
        for fd in (self._rung, self._ringer):
            os.close(fd)
        self._rung = self._ringer = -1

    def _ask(self, kernel: ctypes.CDLL) -> None:
        fd = kernel.inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC)
        if fd >= 0 and kernel.inotify_add_watch(fd, os.fsencode(self._folder), _MODIFY | _MOVED_TO | _CREATE) >= 0:
            self._inotify = fd
            self._poll.register(fd, select.POLLIN)
        elif fd >= 0:  # the folder is gone, or this person has as many watches as the kernel gives
            os.close(fd)

    def _forget(self) -> None:
        if self._inotify >= 0:
            self._poll.unregister(self._inotify)
            os.close(self._inotify)
            self._inotify = -1

    def _written(self, told: bytes) -> bool:
        """Whether what the kernel told is of a file that is meant, or of the folder's end."""
        at = 0
        found = False
        while at < len(told):
            _, what, _, size = _HEAD.unpack_from(told, at)
            at += _HEAD.size + size
            if what & _IGNORED:
                self._forget()
                return True
            found |= told[at - size : at].startswith(self._named.encode())
        return found


def _elsewhere(folder: Path, named: str, ring: Callable[[], None], over: threading.Event) -> None:
    """Ring whenever watchfiles sees a write, until it is over."""
    import watchfiles

    def meant(change: object, path: str) -> bool:
        return Path(path).name.startswith(named)

    while not over.is_set():
        with suppress(OSError, RuntimeError):  # the folder is gone or cannot be watched
            for changes in watchfiles.watch(
                folder, watch_filter=meant, recursive=False, debounce=70, step=70, stop_event=over,
                rust_timeout=1000, yield_on_timeout=True, raise_interrupt=False,
            ):  # fmt: skip
                if changes:
                    ring()
        over.wait(1.0)
