"""The feed: a thread that watches one run's journal and hands over snapshots, a few a second at most.

The watch only wakes it up, and a write is no commit: SQLite writes an event's pages, waits for the disk and only then
shows them, which no watch sees. So after a write the feed looks again and again, each time after as long as it has
waited already; where no watch works, a slow poll does. The thread never touches a widget: it calls `deliver`.
"""

from __future__ import annotations

import sqlite3
import threading
import time
import traceback
from collections.abc import Callable
from dataclasses import replace

from avo_tui.model.moment import moment
from avo_tui.model.snapshot import Builder, Snapshot
from avo_tui.model.status import reads_alike
from avo_tui.model.transcript import fact
from avo_tui.summary import identity
from avo_tui.watch import Watch
from engine.record.errors import AvoError
from engine.record.run import RunFolder

TICK_S = 0.15  # at least, between two moments
POLL_S = 1.0  # at most, between two looks
SETTLE_S = 0.005  # from the first page of a transaction to its last
AGAIN_S = 0.02
LATE = 1.25  # polls without a beat make one late
RARER = 3.0
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
        self._stop = threading.Event()
        self.watch = Watch(folder.path, "journal.db")
        self._at: int | None = None
        self._last: Snapshot | None = None
        self._thread: threading.Thread | None = None

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
        self._thread = threading.Thread(target=self._read, name="feed", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Stop watching; returns once the thread has ended."""
        self._stop.set()
        self.watch.ring()
        if self._thread is not None:
            self._thread.join(timeout=2.0)
        self.watch.close()

    def seek(self, seq: int | None) -> None:
        """Show the moment right after event `seq`, or the live one."""
        self._at = seq
        self.watch.ring()

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
        self.watch.begin()
        self._written, self._ready, self._found = time.monotonic() - POLL_S, 0.0, True
        due = time.monotonic() + POLL_S
        while not self._stop.is_set():
            self._wait(due)
            if not builder.there():
                raise AvoError(GONE)
            asked, now = self._at, builder.reader.mark()
            changed = asked != at or now != mark
            aged = not changed and time.monotonic() >= due
            if changed or aged:  # a beat that comes in time is not overtaken by a look at how old the last one is
                due = time.monotonic() + POLL_S * (LATE if changed else 1.0)
            if asked is not None and asked != at:
                self._give(moment(builder.reader, builder.summary(), asked))
            elif asked is None and (changed or (aged and self._changes_by_itself(builder))):
                self._give_live(builder.live(), first=mark is None)
            mark, at = now, asked
            if changed:
                self._found, self._ready = True, time.monotonic() + TICK_S

    _written = 0.0  # when the watch last told of a write
    _ready = 0.0  # the next moment is read no sooner
    _found = True  # whether something was found since the last write: then only what came with it may be missing

    def _wait(self, due: float) -> None:
        """Until something is written, or it is time to look again."""
        now = time.monotonic()
        again = (now - self._written) * (RARER if self._found else 1.0)
        pause = max(min(again, due - now, POLL_S), self._ready - now, AGAIN_S)
        if self.watch.wait(pause):
            self._stop.wait(max(min(SETTLE_S, TICK_S), self._ready - time.monotonic()))
            self.watch.wait(0.0)
            self._written, self._found = time.monotonic(), False

    def _changes_by_itself(self, builder: Builder) -> bool:
        """Whether what is shown changes without a write: a heartbeat grows old, a process dies, a person comes."""
        last = self._last
        if last is None or (last.engine is not None and last.state not in ("finished", "crashed")):
            return True
        return builder.viewers() != last.lookers

    def _give_live(self, snapshot: Snapshot, *, first: bool) -> None:
        """Give a moment unless it would read as the last one: a beat alone changes nothing that is shown."""
        last = self._last
        if first or last is None or not reads_alike(last, snapshot):
            self._give(snapshot)

    def _give(self, snapshot: Snapshot) -> None:
        last, self._last = self._last, snapshot
        if last is None or snapshot.tail is not last.tail:
            for entry in snapshot.tail[-FIRST:]:  # remembered there: the event loop will not decode them
                fact(entry.kind, entry.data)
        self.deliver(snapshot)

    def _say_trouble(self, text: str) -> None:
        """Say what is wrong, beside what was read last: its ages stay those of that moment."""
        text = text.replace(f"{self.folder.path}/", "") if identity(self.folder.journal) else GONE
        if self._last is not None and self._last.trouble != text:
            self._give(replace(self._last, trouble=text))
