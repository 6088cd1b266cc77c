"""The journal: one run's append-only record in SQLite, one row per event.

An event counts once its transaction commits, and its projections commit with it, so a
killed engine leaves no half fact. Only the engine writes here; viewers read through
`engine.record.reader` and write commands through `engine.record.commands`.
"""

from __future__ import annotations

import json
import os
import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Self

from engine.record import events as ev
from engine.record import schema
from engine.record.errors import JournalError, JournalNewer

SPEND = ("usd", "input_tokens", "output_tokens", "cache_read_tokens", "cache_write_tokens", "calls", "unpriced_calls")
_SHARED_MEMORY = 64 << 10  # bytes that SQLite needs beside a journal, and some to spare


def connect(path: Path, *, write: bool) -> sqlite3.Connection:
    """Open a journal; refuses a missing file, one that is no journal, and one of a newer schema."""
    if not path.is_file():
        raise JournalError(f"{path} does not exist; 'avo runs' lists the runs")
    try:
        connection = _open(path, "mode=rw") if write else _open_to_read(path)
    except sqlite3.OperationalError as error:
        if write or not _at_rest(path):
            ask = "; is the disk full or read-only?" if write else ""
            raise JournalError(f"{path} cannot be {'written' if write else 'read'}: {error}{ask}") from error
        connection = _open(path, "mode=ro&immutable=1")
    except (sqlite3.Error, TypeError, ValueError) as error:
        raise JournalError(
            f"{path} cannot be read as a journal: {error}; 'avo verify' says more, 'avo restore' brings an archive back"
        ) from error
    found = schema.version_of(connection)
    if found > schema.VERSION:
        connection.close()
        raise JournalNewer(f"{path} has schema {found}, this AVO reads up to {schema.VERSION}; upgrade avo-tui")
    return connection


def _open_to_read(path: Path) -> sqlite3.Connection:
    """Open for reading; what a killed writer left half done is first taken back, as SQLite does for any writer."""
    try:
        return _open(path, "mode=ro")
    except sqlite3.OperationalError as error:
        if error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_READONLY:
            raise
        _open(path, "mode=rw").close()
        return _open(path, "mode=ro")


def _open(path: Path, query: str) -> sqlite3.Connection:
    connection = sqlite3.connect(f"{path.as_uri()}?{query}", uri=True, isolation_level=None, timeout=10.0)
    try:
        connection.execute("PRAGMA busy_timeout = 10000")
        schema.version_of(connection)
    except BaseException:
        connection.close()
        raise
    return connection


def remedy(error: sqlite3.Error) -> str:
    """What to do about an error of SQLite's: a damaged file says "database" ones, a disk "operational" ones."""
    if isinstance(error, sqlite3.OperationalError):
        return "is the disk full or read-only?"
    return "it is damaged: 'avo verify' says more, 'avo restore' brings an archive back"


def _at_rest(path: Path) -> bool:
    """Whether the journal was closed properly in a folder that may not be written, or on a disk that is full.

    SQLite cannot make its shared memory there, and needs none: every fact is in the one file, and none will come.
    """
    wal, disk = path.with_name(path.name + "-wal"), os.statvfs(path.parent)
    full = disk.f_bavail * disk.f_frsize < _SHARED_MEMORY
    return (full or not os.access(path.parent, os.W_OK)) and (not wal.exists() or wal.stat().st_size == 0)


class Journal:
    """The engine's writing side. One transaction per event."""

    def __init__(self, connection: sqlite3.Connection, path: Path) -> None:
        self._db = connection
        self.path = path
        try:
            self._db.execute("PRAGMA journal_mode = WAL")
            self._db.execute("PRAGMA synchronous = FULL")
        except sqlite3.OperationalError as error:
            self._db.close()
            raise JournalError(f"cannot write {path}: {error}; is the disk full or read-only?") from error

    @classmethod
    def create(cls, path: Path, run: str) -> Self:
        """A new, empty journal. Fails when the file exists."""
        if path.exists():
            raise JournalError(f"{path} exists already; 'avo resume' continues a run")
        try:
            connection = sqlite3.connect(path, isolation_level=None, timeout=10.0)
            connection.execute("PRAGMA journal_mode = WAL")
            schema.create(connection, run, time.time())
        except sqlite3.Error as error:
            raise JournalError(f"cannot write {path}: {error}; is the disk full or read-only?") from error
        return cls(connection, path)

    @classmethod
    def open(cls, path: Path) -> Self:
        """An existing journal, upgraded in place when it is of an older schema."""
        connection = connect(path, write=True)
        try:
            schema.upgrade(connection, path)
        except (sqlite3.Error, OSError) as error:
            found = schema.version_of(connection)
            connection.close()
            raise JournalError(
                f"{path} has schema {found} and could not be upgraded to {schema.VERSION}: {error}; it is as it was "
                "(an upgrade needs as much free disk as the journal takes)"
            ) from error
        return cls(connection, path)

    def close(self) -> None:
        """Close the connection; committed facts stay."""
        self._db.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self.close()

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        try:
            self._db.execute("BEGIN IMMEDIATE")
            yield self._db
            self._db.execute("COMMIT")
        except BaseException as error:
            if self._db.in_transaction:
                self._db.execute("ROLLBACK")
            if isinstance(error, sqlite3.Error):
                raise JournalError(f"cannot write {self.path}: {error}; {remedy(error)}") from error
            raise

    @contextmanager
    def _passing(self) -> Iterator[sqlite3.Connection]:
        """A transaction for what need not survive a power cut, so that it waits for no disk."""
        self._db.execute("PRAGMA synchronous = NORMAL")
        try:
            with self._transaction() as db:
                yield db
        finally:
            self._db.execute("PRAGMA synchronous = FULL")

    def append(self, *facts: ev.Event, at: float | None = None) -> int:
        """Write events and their projections in one transaction; returns the last sequence number."""
        seq = 0
        with self._transaction() as db:
            for fact in facts:
                seq = _append(db, fact, time.time() if at is None else at)
        return seq

    def answer(self, fact: ev.CommandChanged, *more: ev.Event) -> None:
        """Move a command to its next state, with the facts that its application made, in one transaction."""
        self.append(*more, fact)

    def beat(
        self,
        *,
        pid: int,
        started: float,
        boot: str,
        host: str,
        state: str,
        activity: str,
        elapsed_s: float | None = None,
    ) -> None:
        """The engine's sign of life: one row, replaced each time. `elapsed_s` becomes the meta of that name."""
        with self._passing() as db:
            row = (1, pid, started, boot, host, time.time(), state, activity)
            db.execute("INSERT OR REPLACE INTO engine VALUES (?, ?, ?, ?, ?, ?, ?, ?)", row)
            if elapsed_s is not None:
                db.execute("INSERT OR REPLACE INTO meta VALUES ('elapsed_s', ?)", (f"{elapsed_s:.3f}",))

    def live(self, slot: str, text: str) -> None:
        """Replace what is happening now in one slot: `activity`, `stream` or `output`. Not history."""
        with self._passing() as db:
            db.execute("INSERT OR REPLACE INTO live VALUES (?, ?, ?)", (slot, time.time(), text))

    def set_meta(self, key: str, value: str) -> None:
        """Remember one small fact about the run itself."""
        with self._transaction() as db:
            db.execute("INSERT OR REPLACE INTO meta VALUES (?, ?)", (key, value))


def _append(db: sqlite3.Connection, fact: ev.Event, at: float) -> int:
    title = fact.title()
    row = (at, fact.kind, title, ev.encode(fact))
    seq = db.execute("INSERT INTO events (at, kind, title, data) VALUES (?, ?, ?, ?)", row).lastrowid
    assert seq is not None
    db.execute("INSERT INTO search (rowid, title, body) VALUES (?, ?, ?)", (seq, title, fact.body()[: ev.BODY_LIMIT]))
    project = _PROJECTIONS.get(type(fact))
    if project is not None:
        project(db, seq, at, fact)
    return seq


def _attempt(db: sqlite3.Connection, seq: int, at: float, e: ev.AttemptScored) -> None:
    s = e.score
    columns = {
        "attempt": e.attempt,
        "step": e.step,
        "parent": e.parent,
        "direction": e.direction,
        "name": e.name,
        "source_hash": e.source_hash,
        "stage": s.stage,
        "correct": s.correct,
        "geomean_tflops": s.geomean_tflops,
        "reason": s.reason,
        "created_at": at,
        "seconds": s.seconds,
        "seq": seq,
        "hypothesis": e.hypothesis,
        "log": e.log,
        "score": json.dumps(s.to_json()),
        "diff": e.diff,
    }
    sql = f"INSERT INTO attempts ({', '.join(columns)}) VALUES ({', '.join('?' * len(columns))})"
    db.execute(sql, tuple(columns.values()))
    words = (e.attempt, e.title(), e.body()[: ev.BODY_LIMIT])
    db.execute("INSERT INTO search_attempts (rowid, title, body) VALUES (?, ?, ?)", words)


def _gate(db: sqlite3.Connection, seq: int, at: float, e: ev.GateDecided) -> None:
    row = (e.verdict, e.ratio, e.low, e.high, e.rounds, e.reason, e.attempt)
    db.execute(
        "UPDATE attempts SET verdict = ?, ratio = ?, low = ?, high = ?, rounds = ?, reason = ? WHERE attempt = ?",
        row,
    )
    best = "best_ratio = max(coalesce(best_ratio, 0), ?)"
    mine = "direction = (SELECT direction FROM attempts WHERE attempt = ?)"
    if e.ratio is not None:
        db.execute(f"UPDATE directions SET {best} WHERE {mine}", (e.ratio, e.attempt))


def _version(db: sqlite3.Connection, seq: int, at: float, e: ev.VersionCommitted) -> None:
    row = (e.version, e.commit, e.parent, 1, e.score.geomean_tflops, e.verdict, e.direction, e.name, at, e.attempt,
           e.ratio, e.low, e.high, seq, json.dumps(e.score.to_json()))  # fmt: skip
    db.execute(f"INSERT INTO versions VALUES ({', '.join('?' * len(row))})", row)
    db.execute("UPDATE attempts SET version = ?, verdict = ? WHERE attempt = ?", (e.version, e.verdict, e.attempt))
    _activate(db, e.version)


def _head(db: sqlite3.Connection, seq: int, at: float, e: ev.HeadMoved) -> None:
    if e.cause == "undo":
        last = "SELECT max(seq) FROM heads WHERE undone = 0 AND cause != 'undo'"
        db.execute(f"UPDATE heads SET undone = 1 WHERE seq = ({last})")
    db.execute("INSERT INTO heads VALUES (?, ?, ?, ?, 0)", (seq, e.before, e.after, e.cause))
    _activate(db, e.after)


def _activate(db: sqlite3.Connection, head: int) -> None:
    """The active versions are the head and its ancestors; every other one is withdrawn."""
    db.execute("UPDATE meta SET value = ? WHERE key = 'head'", (str(head),))
    chain = (
        "WITH RECURSIVE line(v) AS (SELECT ? UNION SELECT parent FROM versions JOIN line ON version = v "
        "WHERE parent IS NOT NULL) UPDATE versions SET active = version IN (SELECT v FROM line)"
    )
    db.execute(chain, (head,))


def _baseline(db: sqlite3.Connection, seq: int, at: float, e: ev.BaselineMeasured) -> None:
    db.execute("INSERT OR REPLACE INTO baselines VALUES (?, ?, ?)", (e.name, at, json.dumps(e.score.to_json())))


def _alert(db: sqlite3.Connection, seq: int, at: float, e: ev.AlertRaised) -> None:
    row = (e.alert, at, e.severity, e.what, e.name, e.evidence)
    db.execute("INSERT INTO alerts (alert, at, severity, what, name, evidence) VALUES (?, ?, ?, ?, ?, ?)", row)


def _alert_closed(db: sqlite3.Connection, seq: int, at: float, e: ev.AlertClosed) -> None:
    row = (at, e.by, e.reason, e.alert)
    db.execute(
        "UPDATE alerts SET closed_at = ?, closed_by = ?, closed_reason = ? WHERE alert = ? AND closed_at IS NULL",
        row,
    )


def _intervened(db: sqlite3.Connection, seq: int, at: float, e: ev.Intervened) -> None:
    row = (e.intervention, at, e.level, e.saw, e.diagnosis, json.dumps(e.directions), None, None, seq)
    db.execute(f"INSERT INTO interventions VALUES ({', '.join('?' * len(row))})", row)


def _judged(db: sqlite3.Connection, seq: int, at: float, e: ev.InterventionJudged) -> None:
    row = (e.helped, e.how, e.intervention)
    db.execute("UPDATE interventions SET helped = ?, how = ? WHERE intervention = ?", row)


def _direction(db: sqlite3.Connection, seq: int, at: float, e: ev.DirectionChanged) -> None:
    row = (e.direction, e.name, e.source, e.state, e.why, at, at, int(e.state == "pursued"))
    db.execute(
        "INSERT INTO directions VALUES (?, ?, ?, ?, ?, ?, ?, ?, NULL) ON CONFLICT (direction) DO UPDATE SET "
        "name = excluded.name, state = excluded.state, at = excluded.at, tried = tried + excluded.tried, "
        "why = CASE WHEN excluded.why = '' THEN why ELSE excluded.why END",
        row,
    )
    columns = "name, source, state, why, first_at, at, tried"
    kept = f"SELECT direction, ?, {columns} FROM directions WHERE direction = ?"
    db.execute(f"INSERT INTO direction_changes (direction, seq, {columns}) {kept}", (seq, e.direction))


def _command(db: sqlite3.Connection, seq: int, at: float, e: ev.CommandChanged) -> None:
    row = (e.state, at, e.reason, e.command)
    db.execute("UPDATE commands SET state = ?, state_at = ?, reason = ? WHERE command = ?", row)


def _spent(db: sqlite3.Connection, seq: int, at: float, e: ev.Spent) -> None:
    row = (
        e.usd or 0.0,
        e.input_tokens,
        e.output_tokens,
        e.cache_read_tokens,
        e.cache_write_tokens,
        int(e.usd is None),
    )
    db.execute(
        "UPDATE spend SET usd = usd + ?, input_tokens = input_tokens + ?, output_tokens = output_tokens + ?, "
        "cache_read_tokens = cache_read_tokens + ?, cache_write_tokens = cache_write_tokens + ?, calls = calls + 1, "
        "unpriced_calls = unpriced_calls + ?",
        row,
    )
    marked = f"SELECT ?, {', '.join(SPEND)} FROM spend WHERE calls % ? = 0"
    db.execute(f"INSERT INTO spend_marks (seq, {', '.join(SPEND)}) {marked}", (seq, schema.MARK_EVERY))


def _state(db: sqlite3.Connection, seq: int, at: float, e: ev.StateChanged) -> None:
    db.execute("UPDATE engine SET state = ?", (e.state,))


_PROJECTIONS: dict[type[ev.Event], Callable[..., None]] = {
    ev.AttemptScored: _attempt,
    ev.GateDecided: _gate,
    ev.VersionCommitted: _version,
    ev.HeadMoved: _head,
    ev.BaselineMeasured: _baseline,
    ev.AlertRaised: _alert,
    ev.AlertClosed: _alert_closed,
    ev.Intervened: _intervened,
    ev.InterventionJudged: _judged,
    ev.DirectionChanged: _direction,
    ev.CommandChanged: _command,
    ev.Spent: _spent,
    ev.StateChanged: _state,
}
