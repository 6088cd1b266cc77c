"""`python -m engine RUN_FOLDER`: the engine process of one run.

Exit 0 when the run finished or was stopped, 1 when it was refused (another engine has it, the seed is
wrong), 2 for our own errors, each with one line on standard error, which is the run's engine.log.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import os
import signal
import sqlite3
import sys
import traceback
from collections.abc import Sequence
from pathlib import Path

from engine import lock
from engine.private import keep_private
from engine.record import config as configs
from engine.record.errors import AvoError, RunLocked
from engine.record.run import RunFolder
from engine.search import Search


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the engine; returns its exit code."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    if len(given) != 1 or given[0].startswith("-"):
        print("usage: python -m engine RUN_FOLDER", file=sys.stderr)
        return 2
    folder = RunFolder(Path(given[0]).absolute())
    try:
        return _run(folder)
    except AvoError as error:
        return _say(str(error), 1 if isinstance(error, RunLocked) else error.exit_code)
    except OSError as error:
        return _say(f"{error.filename or folder.path}: {error.strerror or error}", 2)
    except sqlite3.DatabaseError as error:
        return _say(f"{folder.journal} is damaged ({error}); 'avo verify {folder.name}' says more", 2)


def _say(line: str, code: int) -> int:
    """The one line of an end; engine.log may lie on the full disk that is the reason."""
    try:
        print(f"avo engine: {line}", file=sys.stderr, flush=True)
    except OSError:
        sys.stderr = None  # what waits in it would fail once more at the exit, with code 120
    return code


def _run(folder: RunFolder) -> int:
    gc.disable()  # a model's library makes a million objects and none of them is garbage; `Search` enables it again
    keep_private()
    config = configs.load(folder.config)
    held = lock.take(folder)
    try:
        asyncio.run(_serve(Search(folder, config)))
    except (KeyboardInterrupt, asyncio.CancelledError):
        return 2
    except (AvoError, OSError, sqlite3.DatabaseError):
        raise
    except Exception as error:  # a bug of ours: the whole trace belongs in engine.log, one line to the person
        with contextlib.suppress(OSError):
            traceback.print_exc()
        return _say(f"internal error: {type(error).__name__}: {error}", 2)
    finally:
        os.close(held)
    return 0


async def _serve(search: Search) -> None:
    loop = asyncio.get_running_loop()
    for sign in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(sign, search.signalled, sign.name)
    loop.add_signal_handler(signal.SIGHUP, lambda: None)
    await search.run()


if __name__ == "__main__":
    sys.exit(main())
