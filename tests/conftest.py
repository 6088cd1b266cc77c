"""What no test may touch: the person's own knowledge pages and runs."""

from __future__ import annotations

import atexit
import gc
import os
import shutil
import signal
import sys
import tempfile
from pathlib import Path

import pytest

# Modules and tests by the thousand are made while tests are collected, and none of them is garbage.
gc.disable()

# Set before any test starts a process, so that engines started by tests write their lessons here.
_HOME = tempfile.mkdtemp(prefix="avo-tests-")
atexit.register(shutil.rmtree, _HOME, ignore_errors=True)
os.environ["XDG_DATA_HOME"] = f"{_HOME}/data"
os.environ["XDG_STATE_HOME"] = f"{_HOME}/state"
os.environ["XDG_CONFIG_HOME"] = f"{_HOME}/config"

# One build cache for every worker, which inherit it: the scorer's own programs are compiled once in a session, and not
# into the machine's own cache. Others' uids reach it, as a sandbox needs. AVO_TEST_CACHE names one that is kept.
if "PYTEST_XDIST_WORKER" not in os.environ:
    _CACHE = os.environ.get("AVO_TEST_CACHE") or tempfile.mkdtemp(prefix="avo-tests-cache-")
    if not os.environ.get("AVO_TEST_CACHE"):
        Path(_CACHE).chmod(0o755)
        atexit.register(shutil.rmtree, _CACHE, ignore_errors=True)
    os.environ["AVO_CACHE"] = _CACHE

# Hundreds of processes are started: each finds compiled what the first one compiled, whatever the shell says of it.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
# Nor does a person's shell say that nothing waits in a buffer.
os.environ.pop("PYTHONUNBUFFERED", None)
sys.dont_write_bytecode = False

# A shell starts what it puts in the background with SIGINT ignored, and every child would inherit that.
signal.signal(signal.SIGINT, signal.default_int_handler)

# The files that take longest, longest first: none of them is to be begun when the other workers have nothing left.
LONGEST = (
    "scorer/test_cheats.py", "room/test_pictures.py", "room/test_journeys.py", "agent/test_agent_run.py",
    "room/test_keys.py", "room/test_speed.py", "engine/test_kills.py", "cli/test_judging.py", "playbook/test_play.py",
    "engine/test_search.py", "gate/test_simulation.py", "scorer/test_spool.py", "scorer/test_serving.py",
    "cli/test_bad_input.py", "room/test_bad_input.py", "engine/test_faults.py", "engine/test_steering.py",
    "cli/test_running.py", "cli/test_steering_commands.py", "scorer/test_builds.py", "agent/test_the_key.py",
    "engine/test_watch.py", "agent/test_agent_long.py", "scorer/test_scores_of_candidates.py",
)  # fmt: skip


def pytest_collection_finish() -> None:
    """What was collected stays; what tests make is garbage again."""
    gc.freeze()
    gc.enable()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The longest files come first; within a file, and among all others, the order stays."""
    here = Path(__file__).parent
    ranks = {here / name: rank for rank, name in enumerate(LONGEST)}
    items.sort(key=lambda item: ranks.get(item.path, len(ranks)))
