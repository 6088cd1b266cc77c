"""The journal's tables, and the steps that bring an older journal to today's schema.

`events` is the record; the other tables are projections of it, kept for readers, and
could be rebuilt from it. `commands` is the one table that viewers write. A schema only ever
grows, so that whoever only reads needs no upgrade.
"""

from __future__ import annotations

import contextlib
import sqlite3
from pathlib import Path

VERSION = 3
TALLIED = 2  # from this schema on `tally` counts the events of each kind
MARKED = 3  # from this schema on an earlier moment is read from `spend_marks` and `direction_changes`
MARK_EVERY = 200  # calls between two rows of `spend_marks`

_TABLES = """
CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;

CREATE TABLE events (
    seq INTEGER PRIMARY KEY AUTOINCREMENT, at REAL NOT NULL, kind TEXT NOT NULL,
    title TEXT NOT NULL, data TEXT NOT NULL);
CREATE INDEX events_kind ON events (kind, seq);
CREATE INDEX events_at ON events (at);

CREATE TABLE versions (
    version INTEGER PRIMARY KEY, commit_id TEXT NOT NULL, parent INTEGER, active INTEGER NOT NULL,
    geomean_tflops REAL, verdict TEXT NOT NULL, direction TEXT NOT NULL, name TEXT NOT NULL,
    created_at REAL NOT NULL, attempt INTEGER NOT NULL, ratio REAL, low REAL, high REAL,
    seq INTEGER NOT NULL, score TEXT NOT NULL);

CREATE TABLE attempts (
    attempt INTEGER PRIMARY KEY, step INTEGER NOT NULL, parent INTEGER, direction TEXT NOT NULL,
    name TEXT NOT NULL, source_hash TEXT NOT NULL, stage TEXT NOT NULL, correct INTEGER NOT NULL,
    geomean_tflops REAL, verdict TEXT, ratio REAL, low REAL, high REAL, rounds INTEGER, reason TEXT NOT NULL,
    version INTEGER, created_at REAL NOT NULL, seconds REAL NOT NULL, seq INTEGER NOT NULL,
    hypothesis TEXT NOT NULL, log TEXT NOT NULL, score TEXT NOT NULL, diff TEXT NOT NULL);
CREATE INDEX attempts_hash ON attempts (source_hash);

CREATE TABLE baselines (name TEXT PRIMARY KEY, at REAL NOT NULL, score TEXT NOT NULL) WITHOUT ROWID;

CREATE TABLE alerts (
    alert INTEGER PRIMARY KEY, at REAL NOT NULL, severity TEXT NOT NULL, what TEXT NOT NULL,
    name TEXT NOT NULL, evidence TEXT NOT NULL, closed_at REAL, closed_by TEXT, closed_reason TEXT);

CREATE TABLE interventions (
    intervention INTEGER PRIMARY KEY, at REAL NOT NULL, level TEXT NOT NULL, saw TEXT NOT NULL,
    diagnosis TEXT NOT NULL, directions TEXT NOT NULL, helped INTEGER, how TEXT, seq INTEGER NOT NULL);

CREATE TABLE directions (
    direction TEXT PRIMARY KEY, name TEXT NOT NULL, source TEXT NOT NULL, state TEXT NOT NULL,
    why TEXT NOT NULL, first_at REAL NOT NULL, at REAL NOT NULL, tried INTEGER NOT NULL, best_ratio REAL) WITHOUT ROWID;

CREATE TABLE heads (
    seq INTEGER PRIMARY KEY, before INTEGER NOT NULL, after INTEGER NOT NULL, cause TEXT NOT NULL,
    undone INTEGER NOT NULL);

CREATE TABLE spend (
    id INTEGER PRIMARY KEY CHECK (id = 1), usd REAL NOT NULL, input_tokens INTEGER NOT NULL,
    output_tokens INTEGER NOT NULL, cache_read_tokens INTEGER NOT NULL, cache_write_tokens INTEGER NOT NULL,
    calls INTEGER NOT NULL, unpriced_calls INTEGER NOT NULL);

CREATE TABLE commands (
    command INTEGER PRIMARY KEY AUTOINCREMENT, at REAL NOT NULL, person TEXT NOT NULL, client TEXT NOT NULL,
    verb TEXT NOT NULL, arguments TEXT NOT NULL, issued_seq INTEGER NOT NULL,
    state TEXT NOT NULL, state_at REAL NOT NULL, reason TEXT NOT NULL);

CREATE TABLE engine (
    id INTEGER PRIMARY KEY CHECK (id = 1), pid INTEGER NOT NULL, started REAL NOT NULL, boot TEXT NOT NULL,
    host TEXT NOT NULL, heartbeat_at REAL NOT NULL, state TEXT NOT NULL, activity TEXT NOT NULL);

CREATE TABLE live (slot TEXT PRIMARY KEY, at REAL NOT NULL, text TEXT NOT NULL) WITHOUT ROWID;

CREATE VIRTUAL TABLE search USING fts5 (title, body, content='', tokenize='unicode61');
"""

# Counted as they come: counting a week's million events, or its ten thousand attempts, at every look is slow.
_TALLY = """
CREATE TABLE tally (kind TEXT PRIMARY KEY, events INTEGER NOT NULL) WITHOUT ROWID;
INSERT INTO tally SELECT kind, count(*) FROM events GROUP BY kind;
CREATE TRIGGER tally_event AFTER INSERT ON events BEGIN
    INSERT INTO tally VALUES (new.kind, 1) ON CONFLICT (kind) DO UPDATE SET events = events + 1;
END;
"""

# What an earlier moment asks for, so that it need not add up or fold every event before it. Each is what these say:
SPENT_SO_FAR = f"""
    SELECT * FROM (
    SELECT seq, total(json_extract(data, '$.usd')) OVER sofar AS usd,
        sum(coalesce(json_extract(data, '$.input_tokens'), 0)) OVER sofar AS input,
        sum(coalesce(json_extract(data, '$.output_tokens'), 0)) OVER sofar AS output,
        sum(coalesce(json_extract(data, '$.cache_read_tokens'), 0)) OVER sofar,
        sum(coalesce(json_extract(data, '$.cache_write_tokens'), 0)) OVER sofar,
        row_number() OVER sofar AS calls, sum(json_extract(data, '$.usd') IS NULL) OVER sofar
    FROM events WHERE kind = 'spent' WINDOW sofar AS (ORDER BY seq)) WHERE calls % {MARK_EVERY} = 0"""
DIRECTIONS_SO_FAR = """
    SELECT direction, seq, name, first_value(source) OVER sofar, state, max(why) OVER (PARTITION BY direction, reasons),
        first_value(at) OVER sofar, at, sum(state = 'pursued') OVER sofar
    FROM (SELECT *, sum(why != '') OVER (PARTITION BY direction ORDER BY seq) AS reasons FROM (
        SELECT seq, at, json_extract(data, '$.direction') AS direction, json_extract(data, '$.name') AS name,
            json_extract(data, '$.source') AS source, json_extract(data, '$.state') AS state,
            coalesce(json_extract(data, '$.why'), '') AS why
        FROM events WHERE kind = 'direction'))
    WINDOW sofar AS (PARTITION BY direction ORDER BY seq)"""

# The attempts have a search of their own: among a million events their ten thousand are hard to find.
_MARKS = f"""
CREATE TABLE spend_marks (
    seq INTEGER PRIMARY KEY, usd REAL NOT NULL, input_tokens INTEGER NOT NULL, output_tokens INTEGER NOT NULL,
    cache_read_tokens INTEGER NOT NULL, cache_write_tokens INTEGER NOT NULL, calls INTEGER NOT NULL,
    unpriced_calls INTEGER NOT NULL);
INSERT INTO spend_marks {SPENT_SO_FAR};

CREATE TABLE direction_changes (
    direction TEXT NOT NULL, seq INTEGER NOT NULL, name TEXT NOT NULL, source TEXT NOT NULL, state TEXT NOT NULL,
    why TEXT NOT NULL, first_at REAL NOT NULL, at REAL NOT NULL, tried INTEGER NOT NULL,
    PRIMARY KEY (direction, seq)) WITHOUT ROWID;
INSERT INTO direction_changes {DIRECTIONS_SO_FAR};

CREATE VIRTUAL TABLE search_attempts USING fts5 (title, body, content='', tokenize='unicode61');
INSERT INTO search_attempts (rowid, title, body)
    SELECT a.attempt, e.title, substr(a.hypothesis || char(10) ||
        coalesce(json_extract(e.data, '$.score.reason'), '') || char(10) || a.diff, 1, 16000)
    FROM attempts a JOIN events e ON e.seq = a.seq ORDER BY a.attempt;
"""

# From schema N to N+1. Add one entry when VERSION grows; never edit an old one. A new journal takes every step too.
_UPGRADES: dict[int, str] = {1: _TALLY, 2: _MARKS}


def create(connection: sqlite3.Connection, run: str, created_at: float) -> None:
    """Write today's schema into an empty database."""
    connection.executescript("BEGIN;" + _TABLES + "".join(_UPGRADES[step] for step in range(1, VERSION)))
    rows = [("schema", str(VERSION)), ("run", run), ("created_at", repr(created_at)), ("head", "")]
    connection.executemany("INSERT INTO meta VALUES (?, ?)", rows)
    connection.execute("INSERT INTO spend VALUES (1, 0, 0, 0, 0, 0, 0, 0)")
    connection.execute("COMMIT")


def version_of(connection: sqlite3.Connection) -> int:
    """The schema that a database was written with."""
    row = connection.execute("SELECT value FROM meta WHERE key = 'schema'").fetchone()
    return int(row[0])


def backup_of(journal: Path, version: int) -> Path:
    """Where an upgrade leaves the journal as it was: journal.db.schema-N, beside it."""
    return journal.with_name(f"{journal.name}.schema-{version}")


def upgrade(connection: sqlite3.Connection, journal: Path) -> Path | None:
    """Bring an older journal to today's schema, all steps in one transaction; None when there is nothing to do.

    Returns the backup that was made beside it first (sqlite3_backup, so that its log is in it). Raises
    sqlite3.Error or OSError, and then the journal is as it was.
    """
    found = version_of(connection)
    if found >= VERSION:
        return None
    backup = backup_of(journal, found)
    _back_up(connection, backup)
    steps = "".join(_UPGRADES[step] for step in range(found, VERSION))
    try:
        connection.executescript(
            f"BEGIN IMMEDIATE;{steps}UPDATE meta SET value = '{VERSION}' WHERE key = 'schema';"
            f"INSERT OR REPLACE INTO meta VALUES ('upgraded_from', '{found}');COMMIT;"
        )
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise
    return backup


def _back_up(connection: sqlite3.Connection, backup: Path) -> None:
    """A whole copy, private to its owner, or none."""
    fresh = backup.with_name(f"{backup.name}.new")
    fresh.unlink(missing_ok=True)
    try:
        fresh.touch(mode=0o600)
        with contextlib.closing(sqlite3.connect(fresh)) as copy:
            connection.backup(copy)
        fresh.replace(backup)
    except BaseException:
        fresh.unlink(missing_ok=True)
        raise
