"""The feed: a thread that watches one run's journal and hands over snapshots, at most ten a second.

watchfiles only wakes it up; where it does not work (a network file system), a slow poll does.
The thread never touches a widget: it calls `deliver`, which posts a message.
"""

from __future__ import annotations

import sqlite3
import threading
import time
import traceback
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from avo_tui.model.moment import moment
from avo_tui.model.snapshot import Builder, Snapshot
from avo_tui.model.transcript import fact
from avo_tui.summary import identity
from engine.record.errors import AvoError
from engine.record.run import RunFolder

TICK_S = 0.1
POLL_S = 1.0
LOST_S = 2.0
GONE = "the run's folder is gone; waiting for it to come back"
FIRST = 150  # events that a pane shows at first


class Feed:
    """Delivers a snapshot whenever the run changed, or another moment was asked for."""

    def __init__(
        self, folder: RunFolder, deliver: Callable[[Snapshot], None], clock: Callable[[], float] = time.time
    ) -> None:
        self.folder = folder
        self.deliver = deliver
        self.clock = clock
        self._wake = threading.Event()
        self._stop = threading.Event()
        self._at: int | None = None
        self._last: Snapshot | None = None
        self._threads: list[threading.Thread] = []

    def first(self, seq: int | None = None) -> Snapshot:
        """The first moment, the live one or that after an event, read here so that the first paint has it."""
        builder = Builder(self.folder, self.clock)
        try:
            self._last = builder.live() if seq is None else moment(builder.reader, builder.summary(), seq)
            self._at = seq
        finally:
            builder.close()
        return self._last

    def start(self) -> None:
        """Begin to watch."""
        for work, name in ((self._read, "feed"), (self._watch, "feed-watch")):
            thread = threading.Thread(target=work, name=name, daemon=True)
            thread.start()
            self._threads.append(thread)

    def stop(self) -> None:
        """Stop watching; returns once the threads have ended."""
        self._stop.set()
        self._wake.set()
        for thread in self._threads:
            thread.join(timeout=2.0)

    def seek(self, seq: int | None) -> None:
        """Show the moment right after event `seq`, or the live one."""
        self._at = seq
        self._wake.set()

    def _watch(self) -> None:
        """Set the wake-up flag when something in the run's folder is written."""
        import watchfiles

        while not self._stop.is_set():
            try:
                for changes in watchfiles.watch(
                    self.folder.path, watch_filter=_is_journal, recursive=False, debounce=70, step=70,
                    stop_event=self._stop, rust_timeout=1000, yield_on_timeout=True, raise_interrupt=False,
                ):  # fmt: skip
                    if changes:
                        self._wake.set()
            except (OSError, RuntimeError):  # the folder is gone or cannot be watched: the poll goes on
                self._stop.wait(POLL_S)

    def _read(self) -> None:
        """Read moments until stopped; a journal that cannot be read is said and tried again."""
        while not self._stop.is_set():
            try:
                builder = Builder(self.folder, self.clock)
                try:
                    self._follow(builder)
                finally:
                    builder.close()
            except (AvoError, OSError, ValueError) as error:
                self._say_trouble(str(error))
            except sqlite3.Error as error:  # a damaged page, a lost mount
                self._say_trouble(f"journal.db: {error}")
            except Exception as error:  # what nobody foresaw: else the room would show an old moment as now for ever
                traceback.print_exc()
                self._say_trouble(f"{type(error).__name__}: {error}")
            self._stop.wait(LOST_S)

    def _follow(self, builder: Builder) -> None:
        mark: tuple[int, int] | None = None
        at: int | None = None
        while not self._stop.is_set():
            self._wake.wait(POLL_S)
            self._wake.clear()
            if not builder.there():
                raise AvoError(GONE)
            asked, now = self._at, builder.reader.mark()
            if asked is not None and asked != at:
                self._give(moment(builder.reader, builder.summary(), asked))
            elif asked is None and (now != mark or at is not None or self._changes_by_itself(builder)):
                self._give(builder.live())
            mark, at = now, asked
            self._stop.wait(TICK_S)

    def _changes_by_itself(self, builder: Builder) -> bool:
        """Whether what is shown changes without a write: a heartbeat grows old, a process dies, a person comes."""
        last = self._last
        if last is None or (last.engine is not None and last.state not in ("finished", "crashed")):
            return True
        return builder.viewers() != last.lookers

    def _give(self, snapshot: Snapshot) -> None:
        self._last = snapshot
        for entry in snapshot.tail[-FIRST:]:  # remembered there: the event loop will not decode them
            fact(entry.kind, entry.data)
        self.deliver(snapshot)

    def _say_trouble(self, text: str) -> None:
        """Say what is wrong, beside what was read last: its ages stay those of that moment."""
        text = text.replace(f"{self.folder.path}/", "") if identity(self.folder.journal) else GONE
        if self._last is not None and self._last.trouble != text:
            self._give(replace(self._last, trouble=text))


def _is_journal(change: object, path: str) -> bool:
    return Path(path).name.startswith("journal.db")
