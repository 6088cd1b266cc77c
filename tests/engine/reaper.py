"""A thread inside an engine under test that sees in which phase it is, and kills it there.

It watches the main thread's stack and the chains of its coroutines: nothing of the engine is replaced. The phase
stands in a file mapped into memory, which outlives the kill; the aim is read from another one:

    aim.json   {"phase": "gate", "skip": 2, "linger_s": 0.01}      the third time, up to 10 ms into it
"""

import asyncio
import json
import mmap
import os
import signal
import sys
import threading
import time
from pathlib import Path
from typing import Any

PHASE_BYTES = 64
ANYWHERE = "between turns"
# The first that is found on the stacks is the phase; a place is "module.qualified name".
PLACES: tuple[tuple[str, frozenset[str]], ...] = (
    ("rollback", frozenset({"Steering._move", "Search.moved"})),
    ("git commit", frozenset({"Lineage.commit"})),
    ("compaction", frozenset({"Agent._handoff", "Agent._begin"})),
    ("journal write", frozenset({"Journal.append"})),
    ("gate", frozenset({"RunTrials._judge"})),
    ("measurement", frozenset({"RunTrials._glance", "RunTrials.profile"})),
    ("build or measurement", frozenset({"Host.score"})),
    ("model stream", frozenset({"ModelClient.send"})),
    ("tool", frozenset({"Session.call"})),
)
PHASES = (
    "model stream", "tool", "build", "measurement", "gate", "git commit", "journal write", "rollback", "compaction",
)  # fmt: skip


def start(session: Any) -> None:
    """Watch the engine that this session belongs to."""
    loop, main = asyncio.get_running_loop(), threading.get_ident()
    sys.setswitchinterval(0.0005)
    watch = threading.Thread(target=_watch, args=(session, loop, main), name="reaper", daemon=True)
    watch.start()


def _watch(session: Any, loop: asyncio.AbstractEventLoop, main: int) -> None:
    folder: Path = session.folder.path
    board = _board(folder)
    aim = json.loads((folder / "aim.json").read_text()) if (folder / "aim.json").exists() else {}
    wanted, skip, linger_s = aim.get("phase"), aim.get("skip", 0), aim.get("linger_s", 0.0)
    before = ""
    while True:
        now = _phase(session, loop, main)
        board[:PHASE_BYTES] = now.ljust(PHASE_BYTES).encode()
        if now == wanted and now != before:
            skip -= 1
        if now == wanted and skip < 0:
            time.sleep(linger_s)
            if _phase(session, loop, main) == wanted:
                os.kill(os.getpid(), signal.SIGKILL)
        before = now
        time.sleep(0.001)


def _phase(session: Any, loop: asyncio.AbstractEventLoop, main: int) -> str:
    names = _names(loop, main)
    for phase, places in PLACES:
        if names & places:
            if phase == "build or measurement":
                return "build" if session.activity.startswith("building") else "measurement"
            return phase
    return ANYWHERE


def _names(loop: asyncio.AbstractEventLoop, main: int) -> set[str]:
    """Qualified names of every function on the main thread's stack and in the chain of each task."""
    found = set()
    frame = sys._current_frames().get(main)
    while frame is not None:
        found.add(frame.f_code.co_qualname)
        frame = frame.f_back
    try:
        tasks = asyncio.all_tasks(loop)
    except RuntimeError:  # the set changed under our eyes
        return found
    for task in tasks:
        link: Any = task.get_coro()
        while link is not None and hasattr(link, "cr_code"):
            found.add(link.cr_code.co_qualname)
            link = link.cr_await
    return found


def _board(folder: Path) -> mmap.mmap:
    path = folder / "phase"
    path.write_bytes(ANYWHERE.ljust(PHASE_BYTES).encode())
    with path.open("r+b") as file:
        return mmap.mmap(file.fileno(), PHASE_BYTES)


def last_phase(folder: Path) -> str:
    """Where the engine was when it died; "start" when it died before its operator was made."""
    path = folder / "phase"
    text = path.read_bytes().decode().strip() if path.exists() else ""
    return text or "start"
