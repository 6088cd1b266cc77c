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

KINDS = 20  # of each twenty events one is an attempt


def write(path: Path, events: int) -> RunFolder:
    """The scripted story, then `events` more: words, tools and attempts, a second apart."""
    run = scripted.write(path)
    db = sqlite3.connect(run.journal, isolation_level=None)
    seq = int(db.execute("SELECT max(seq) FROM events").fetchone()[0])
    at = scripted.end_of(run)
    score = db.execute("SELECT score FROM attempts WHERE correct = 1 ORDER BY attempt DESC LIMIT 1").fetchone()[0]
    db.execute("PRAGMA synchronous = OFF")
    db.execute("BEGIN")
    rows = ((seq + i, at + i, *_event(i)) for i in range(1, events + 1))
    db.executemany("INSERT INTO events (seq, at, kind, title, data) VALUES (?, ?, ?, ?, ?)", rows)
    db.executemany("INSERT INTO search (rowid, title, body) VALUES (?, ?, ?)",
                   ((seq + i, _event(i)[1], f"word{i % 977} tile softmax {i}") for i in range(1, events + 1)))  # fmt: skip
    attempts = (
        (100 + i, 9, 21, "d", f"try {i}", f"{i:064x}", "ok", 1, 0.08, "regressed", 0.99, 0.98, 1.0, 6, "slower", None,
         at + i * KINDS, 9.0, seq + i * KINDS, "", "", score, "")
        for i in range(1, events // KINDS + 1)
    )  # fmt: skip
    db.executemany(f"INSERT INTO attempts VALUES ({', '.join('?' * 23)})", attempts)
    db.execute("COMMIT")
    db.close()
    scripted.freeze(run, at + events)
    return run


def _event(i: int) -> tuple[str, str, str]:
    if i % 3 == 1:
        return (
            "said",
            f"thought {i}",
            json.dumps({"text": f"Thought {i}: the tile word{i % 977} waits for loads.", "turn": i}),
        )
    call = {"call": f"c{i // 3}", "tool": "shell", "turn": i}
    if i % 3 == 2:
        return "tool_started", f"shell {i}", json.dumps({**call, "arguments": {"command": f"make {i}"}})
    done = {"call": f"c{i // 3}", "tool": "shell", "ok": True, "text": f"built {i}\nin 2 s", "seconds": 2.0}
    return "tool_finished", f"shell ok {i}", json.dumps(done)


if __name__ == "__main__":
    assert ev.kinds()
    write(Path(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else 1_000_000)
