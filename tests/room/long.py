"""A run of a million events, written in seconds: for measuring what a week's journal costs the room.

python -m tests.room.long FOLDER [EVENTS]
"""

from __future__ import annotations

import json
import sqlite3
import sys
from pathlib import Path

from engine.record import events as ev
from engine.record.run import RunFolder
from tests.room import scripted

PLAIN = json.dumps(
    {"problem": "mha_cpu", "correct": True, "stage": "ok", "reason": "", "geomean_tflops": 0.08, "device": "cpu",
     "seconds": 1.0, "configurations": []})  # fmt: skip
KINDS = 20  # of each twenty events one is an attempt, unless it is said otherwise
# So many rows are made where they are kept: Python would take twice as long.
TRIES = """
INSERT INTO attempts
WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < :count)
SELECT 100 + i, 9, 21, 'd', 'try ' || i, printf('%064x', i), 'ok', 1, 0.08, 'regressed', 0.99, 0.98, 1.0, 6, 'slower',
    NULL, :at + i * :every, 9.0, :seq + min(i * :every, :events), '', '', iif(i = :count, :score, :plain), ''
FROM n WHERE i <= :count"""


def write(path: Path, events: int, attempts: int | None = None) -> RunFolder:
    """The scripted story, then `events` more: words and tools, a second apart, with so many attempts among them."""
    run = scripted.write(path)
    db = sqlite3.connect(run.journal, isolation_level=None)
    seq = int(db.execute("SELECT max(seq) FROM events").fetchone()[0])
    at = scripted.end_of(run)
    score = db.execute("SELECT score FROM attempts WHERE correct = 1 ORDER BY attempt DESC LIMIT 1").fetchone()[0]
    db.execute("PRAGMA synchronous = OFF")
    db.execute("BEGIN")
    rows = ((seq + i, at + i, *_row(fact(i))) for i in range(1, events + 1))
    db.executemany("INSERT INTO events (seq, at, kind, title, data) VALUES (?, ?, ?, ?, ?)", rows)
    db.executemany("INSERT INTO search (rowid, title, body) VALUES (?, ?, ?)",
                   ((seq + i, f"event {i}", f"word{i % 977} tile softmax {i}") for i in range(1, events + 1)))  # fmt: skip
    count = events // KINDS if attempts is None else attempts
    every = max(events // max(count, 1), 1)
    db.execute(TRIES, {"count": count, "every": every, "at": at, "seq": seq, "events": events,
                       "score": score, "plain": PLAIN})  # fmt: skip
    db.execute("UPDATE tally SET events = (SELECT count(*) FROM attempts) WHERE kind = 'attempt'")
    db.execute("COMMIT")
    db.close()
    scripted.freeze(run, at + events)
    return run


def fact(i: int) -> ev.Event:
    """The `i`-th of the events: words, then a tool's start and its end."""
    if i % 3 == 1:
        return ev.Said(f"Thought {i}: the tile word{i % 977} waits for loads.", i)
    if i % 3 == 2:
        return ev.ToolStarted(f"c{i // 3}", "shell", {"command": f"make {i}"}, i)
    return ev.ToolFinished(f"c{i // 3 - 1}", "shell", True, f"built {i}\nin 2 s", 2.0)


def _row(event: ev.Event) -> tuple[str, str, str]:
    return event.kind, event.title(), ev.encode(event)


if __name__ == "__main__":
    write(Path(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else 1_000_000)
