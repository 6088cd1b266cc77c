"""The watchdog: `python -m engine.watch RUN_FOLDER` keeps a run's engine alive, with or without systemd.

One rule: it writes the journal only while it holds the run's lock, when no engine lives. An engine that another
process started is watched like its own; engine and watchdog outlive each other.

Exit 0 when the run ended by itself or a signal asked the watchdog to go, 1 when it gave up or was refused (one line
says why), 2 for its own errors. A run that a signal stopped, as when the machine shuts down, has not ended.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import signal
import sqlite3
import subprocess
import sys
import time
from collections import deque
from collections.abc import Sequence
from pathlib import Path

from engine import lock
from engine.private import keep_private
from engine.record import events as ev
from engine.record.errors import AvoError, JournalError, Refused, RunLocked
from engine.record.frozen import dataclass
from engine.record.journal import Journal
from engine.record.liveness import engine_alive
from engine.record.reader import Engine, Reader
from engine.record.run import RunFolder

POLL_S = 0.5
LONGEST_S = 300.0
STOP_S = 60.0
STOPPED_BY_SIGNAL = "stopped by SIG"


@dataclass(frozen=True, slots=True)
class Patience:
    """How long to wait before the engine is started again (doubling from `first_s`), and when to give up."""

    first_s: float = 1.0
    crashes: int = 5
    within_s: float = 600.0


PATIENCE = Patience()


class Watchdog:
    """Of one run. `run` returns when the run has ended, or when it crashed too often."""

    def __init__(self, folder: RunFolder, patience: Patience) -> None:
        self._folder, self._patience = folder, patience
        self._crashes: deque[float] = deque(maxlen=patience.crashes)
        self._engine: subprocess.Popen[bytes] | None = None
        self._leave = False

    def run(self) -> int:
        """Watch until there is nothing left to watch."""
        while not self._leave:
            if not self._alive():
                if (code := self._ended()) is not None:
                    return code
                self._start()
            time.sleep(POLL_S)
        return self._stop_engine()

    def leave(self) -> None:
        """A signal: end the engine at its next boundary, then go."""
        self._leave = True

    def _alive(self) -> bool:
        if self._engine is not None and self._engine.poll() is None:
            return True
        return engine_alive(self._last())

    def _ended(self) -> int | None:
        """No engine lives: the exit code when that is the end, None when it must be started."""
        code = None if self._engine is None else self._engine.returncode
        began, self._engine = self._engine is not None, None
        last = self._last()
        if last is not None and last.state == "finished":
            why = self._why()
            if why.startswith(STOPPED_BY_SIGNAL):
                return None
            self._say(f"run {self._folder.name} has ended: {why}")
            return 0 if not code else 1
        if code == Refused.exit_code:
            self._say(self._last_line() or "the engine was refused the run")
            return None if self._held() else 1
        if began or last is not None:
            return self._crashed(code)
        return None

    def _crashed(self, code: int | None) -> int | None:
        """Wait before the next engine, longer each time; 1 when it crashed too often."""
        now = time.monotonic()
        self._crashes.append(now)
        recent = [t for t in self._crashes if now - t <= self._patience.within_s]
        how = "ended" if code is None else f"was ended by signal {-code}" if code < 0 else f"ended with code {code}"
        if len(recent) >= self._patience.crashes:
            span = f"{self._patience.crashes} times within {self._patience.within_s:g} s"
            self._alert(f"the engine crashed {span} and was not started again", self._last_line() or how)
            self._say(f"the engine {how}, {span}; it is not started again; 'avo resume {self._folder.name}' tries")
            return 1
        wait_s = min(LONGEST_S, self._patience.first_s * 2 ** (len(recent) - 1)) if code is not None else 0.0
        self._say(f"the engine {how}; it is started again in {wait_s:g} s")
        end = now + wait_s
        while time.monotonic() < end and not self._leave:
            time.sleep(min(POLL_S, wait_s))
        return None

    def _start(self) -> None:
        if self._leave:
            return
        here = str(Path(__file__).resolve().parent.parent)
        path = os.pathsep.join(p for p in (here, os.environ.get("PYTHONPATH", "")) if p)
        with self._folder.engine_log.open("ab") as log:
            self._engine = subprocess.Popen(
                [sys.executable, "-P", "-m", "engine", str(self._folder.path)],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=self._folder.path,
                env={**os.environ, "PYTHONPATH": path, "PYTHONUNBUFFERED": "1"},
                start_new_session=True,
            )
        self._say(f"engine {self._engine.pid} was started")

    def _stop_engine(self) -> int:
        """Asked to go: the engine ends in order, as after 'avo stop' but able to be started again."""
        if self._engine is not None and self._engine.poll() is None:
            self._engine.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._engine.wait(STOP_S)
        return 0

    # --- what the run says -------------------------------------------------------------------

    def _last(self) -> Engine | None:
        if not self._folder.journal.is_file():
            return None
        try:
            with Reader(self._folder.journal) as reader:
                return reader.engine()
        except JournalError:
            return None

    def _why(self) -> str:
        """Why the run ended, in the engine's words."""
        with Reader(self._folder.journal) as reader:
            entries = reader.tail(1, kinds=("state",))
        fact = entries[-1].event() if entries else None
        return fact.reason if isinstance(fact, ev.StateChanged) else ""

    def _held(self) -> bool:
        """Whether another engine has the run."""
        try:
            os.close(lock.take(self._folder))
        except RunLocked:
            return True
        return False

    def _alert(self, name: str, evidence: str) -> None:
        """Tell the person in the journal; that it cannot be written is said where it can."""
        try:
            held = lock.take(self._folder)
        except JournalError as error:
            self._say(str(error))
            return
        try:
            with Journal.open(self._folder.journal) as journal, Reader(self._folder.journal) as reader:
                alerts = reader.alerts()
                number = alerts[0].alert + 1 if alerts else 1
                journal.append(ev.AlertRaised(number, "critical", "engine", name, evidence))
        except (JournalError, sqlite3.Error) as error:
            self._say(str(error))
        finally:
            os.close(held)

    def _last_line(self) -> str:
        try:
            lines = self._folder.engine_log.read_bytes()[-8000:].decode("utf-8", "replace").strip().splitlines()
        except OSError:
            return ""
        return lines[-1] if lines else ""

    def _say(self, text: str) -> None:
        print(f"avo watch: {text}", file=sys.stderr, flush=True)


def main(arguments: Sequence[str] | None = None) -> int:
    """Watch one run; returns the exit code."""
    parser = argparse.ArgumentParser(prog="avo watch", description="Start a run's engine again when it crashes.")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--first-s", type=float, default=PATIENCE.first_s)
    parser.add_argument("--crashes", type=int, default=PATIENCE.crashes)
    parser.add_argument("--within-s", type=float, default=PATIENCE.within_s)
    given = parser.parse_args(arguments)
    keep_private()
    folder = RunFolder(given.folder.absolute())
    try:
        held = lock.take_watch(folder)
        watchdog = Watchdog(folder, Patience(given.first_s, given.crashes, given.within_s))
        for sign in (signal.SIGTERM, signal.SIGINT):
            signal.signal(sign, lambda *_: watchdog.leave())
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
        try:
            return watchdog.run()
        finally:
            os.close(held)
    except AvoError as error:
        print(f"avo watch: {error}", file=sys.stderr, flush=True)
        return 1 if isinstance(error, RunLocked) else error.exit_code
    except OSError as error:
        print(f"avo watch: {error.filename or folder.path}: {error.strerror or error}", file=sys.stderr, flush=True)
        return 2
    except sqlite3.Error as error:
        print(f"avo watch: {folder.journal}: {error}", file=sys.stderr, flush=True)
        return 2


if __name__ == "__main__":
    sys.exit(main())
