"""The room as `avo attach` shows it, with a clock on its event loop.

python -m tests.bench.blocks RUN: with AVO_BLOCKS=FILE the longest callbacks (seconds) are written there at the end;
with AVO_HURRY=1 it takes every change at once, so that days of redraws pass in minutes.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
import time
from pathlib import Path
from typing import Any

from avo_tui.attach import main
from engine.record.run import RunFolder

STARTUP_S = 2.0  # imports and the first layout happen before anyone can press a key
ENDING_S = 1.0  # and leaving waits for the terminal's reader
WORTH_S = 0.005
HURRIED_S = 0.002


def watch() -> list[tuple[float, float]]:
    """Take the time of every callback of every event loop: (when it ended, how long it took), the long ones."""
    long: list[tuple[float, float]] = []
    run: Any = asyncio.events.Handle._run

    def timed(handle: Any) -> None:
        start = time.monotonic()
        run(handle)
        end = time.monotonic()
        if end - start > WORTH_S:
            long.append((end, end - start))

    asyncio.events.Handle._run = timed  # type: ignore[method-assign]
    return long


if __name__ == "__main__":
    where, born = os.environ.get("AVO_BLOCKS"), time.monotonic()
    long = watch() if where else []
    if os.environ.get("AVO_HURRY"):
        from avo_tui import feed

        feed.TICK_S = feed.POLL_S = HURRIED_S
    code = main(RunFolder(Path(sys.argv[1])))
    if where:
        left = time.monotonic() - ENDING_S
        kept = sorted(took for at, took in long if born + STARTUP_S < at < left)
        Path(where).write_text(json.dumps(kept or [0.0]), "utf-8")
    sys.exit(code)
