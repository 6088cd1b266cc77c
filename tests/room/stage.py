"""Shows the room, a replay or a review of a run at a fixed time: the program that pty tests look at.

python -m tests.room.stage RUN [--now SECONDS] [--readonly] [--no-live]
"""

from __future__ import annotations

import argparse
import os
import sqlite3
import sys
import time
from pathlib import Path

from avo_tui import app as room
from avo_tui import prefs, terminal
from avo_tui.model import host
from engine.record.liveness import identity
from engine.record.run import RunFolder

# What a picture says of the host, since no two hosts are alike.
LOAD = host.Load(
    cores=2, busy=0.87, load=2.1, memory_used=0.41, memory_gb=16.0, celsius=61.0, mhz=2900.0,
    top=(("candidate", 1.62), ("python3", 0.11)),
)  # fmt: skip


def main() -> int:
    """Run the app as `avo attach` does, with a clock that stands still when --now is given."""
    parser = argparse.ArgumentParser()
    parser.add_argument("run", type=Path)
    parser.add_argument("--now", type=float)
    parser.add_argument("--readonly", action="store_true")
    given = parser.parse_args()
    if given.now is not None:
        adopt(given.run)
    seen, wanted = terminal.probe(os.environ), prefs.Prefs()
    app = room.AvoApp(
        RunFolder(given.run),
        readonly=given.readonly,
        palette=room.palette_for(seen, wanted.theme),
        ascii=seen.ascii,
        watch_host=given.now is None,
        clock=(lambda: given.now) if given.now is not None else time.time,
    )
    if given.now is not None:
        app.load = LOAD
    app.run()
    return int(app.return_value or 0)


def adopt(run: Path) -> None:
    """Become the engine of a scripted run, so that it counts as alive."""
    me = identity()
    with sqlite3.connect(run / "journal.db", isolation_level=None) as db:
        db.execute("UPDATE engine SET pid = ?, started = ?, boot = ?, host = ?", (me.pid, me.started, me.boot, me.host))
    db.close()


if __name__ == "__main__":
    sys.exit(main())
