"""Life: whether a run's engine lives, asked as often as a room is drawn.

Who a process is takes a millisecond or two to read from /proc. So once an engine was found alive its process is held
on to (pidfd_open(2)), and the kernel says for nothing when that one ends.
"""

from __future__ import annotations

import os
import select

from engine.record.liveness import engine_alive
from engine.record.reader import Engine


class Life:
    """Whether the engine that last beat is alive. Holds one process; belongs to one thread."""

    def __init__(self) -> None:
        self._who: object = None
        self._fd = -1

    def of(self, engine: Engine | None, now: float) -> bool:
        """Whether it is; what is held answers for exactly the process that was looked at."""
        who = engine and (engine.pid, engine.started, engine.boot, engine.host)
        if who == self._who and self._fd >= 0:
            if not select.select([self._fd], [], [], 0)[0]:
                return True
            self.let_go()
            return False
        self.let_go()
        if engine is None or engine.host != os.uname().nodename or not hasattr(os, "pidfd_open"):
            return engine_alive(engine, now)
        return self._hold(engine, now, who)

    def _hold(self, engine: Engine, now: float, who: object) -> bool:
        """Hold the process first and then see whether it is the engine, so that it is no later one."""
        try:
            fd = os.pidfd_open(engine.pid)
        except OSError:  # gone, or not allowed here
            return engine_alive(engine, now)
        if engine_alive(engine, now):
            self._who, self._fd = who, fd
            return True
        os.close(fd)
        return False

    def let_go(self) -> None:
        """Hold nothing."""
        if self._fd >= 0:
            os.close(self._fd)
        self._who, self._fd = None, -1
