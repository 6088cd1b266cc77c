"""`python -m engine RUN_FOLDER`: the engine process of one run.

Exit 0 when the run finished or was stopped, 1 when it was refused (another engine has it, the seed is
wrong), 2 for our own errors, each with one line on standard error, which is the run's engine.log.
"""

from __future__ import annotations

import asyncio
import ctypes
import os
import signal
import sys
import traceback
from collections.abc import Sequence
from pathlib import Path

from engine import lock
from engine.record import config as configs
from engine.record.errors import AvoError, RunLocked
from engine.record.run import RunFolder
from engine.search import Search

PR_SET_DUMPABLE = 4


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
        print(f"avo engine: {error}", file=sys.stderr, flush=True)
        return 1 if isinstance(error, RunLocked) else error.exit_code
    except OSError as error:
        print(f"avo engine: {error.filename or folder.path}: {error.strerror or error}", file=sys.stderr, flush=True)
        return 2


def _run(folder: RunFolder) -> int:
    keep_private()
    config = configs.load(folder.config)
    held = lock.take(folder)
    try:
        asyncio.run(_serve(Search(folder, config)))
    except (KeyboardInterrupt, asyncio.CancelledError):
        return 2
    except (AvoError, OSError):
        raise
    except Exception as error:  # a bug of ours: the whole trace belongs in engine.log, one line to the person
        traceback.print_exc()
        print(f"avo engine: internal error: {type(error).__name__}: {error}", file=sys.stderr, flush=True)
        return 2
    finally:
        os.close(held)
    return 0


def keep_private() -> None:
    """No other process of this user may read this one's memory and environment (prctl(2), PR_SET_DUMPABLE = 0)."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_DUMPABLE, 0, 0, 0, 0)


async def _serve(search: Search) -> None:
    loop = asyncio.get_running_loop()
    for sign in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(sign, search.signalled, sign.name)
    loop.add_signal_handler(signal.SIGHUP, lambda: None)
    await search.run()


if __name__ == "__main__":
    sys.exit(main())
