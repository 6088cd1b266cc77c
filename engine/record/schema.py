"""The journal's tables, and the steps that bring an older journal to today's schema.

`events` is the record; the other tables are projections of it, kept for readers, and
could be rebuilt from it. `commands` is the one table that viewers write.
"""

from __future__ import annotations

import sqlite3

VERSION = 1

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

# From schema N to N+1: a list of statements. Add one entry when VERSION grows; never edit an old one.
_UPGRADES: dict[int, str] = {}


def create(connection: sqlite3.Connection, run: str, created_at: float) -> None:
    """Write today's schema into an empty database."""
    connection.executescript("BEGIN;" + _TABLES)
    rows = [("schema", str(VERSION)), ("run", run), ("created_at", repr(created_at)), ("head", "")]
    connection.executemany("INSERT INTO meta VALUES (?, ?)", rows)
    connection.execute("INSERT INTO spend VALUES (1, 0, 0, 0, 0, 0, 0, 0)")
    connection.execute("COMMIT")


def version_of(connection: sqlite3.Connection) -> int:
    """The schema that a database was written with."""
    row = connection.execute("SELECT value FROM meta WHERE key = 'schema'").fetchone()
    return int(row[0])


def upgrade(connection: sqlite3.Connection) -> None:
    """Bring an older journal to today's schema, one step and one transaction at a time."""
    for step in range(version_of(connection), VERSION):
        connection.executescript("BEGIN;" + _UPGRADES[step])
        connection.execute("UPDATE meta SET value = ? WHERE key = 'schema'", (str(step + 1),))
        connection.execute("COMMIT")
