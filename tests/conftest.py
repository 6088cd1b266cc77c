"""What no test may touch: the person's own knowledge pages and runs."""

from __future__ import annotations

import atexit
import os
import shutil
import signal
import sys
import tempfile

# Set before any test starts a process, so that engines started by tests write their lessons here.
_HOME = tempfile.mkdtemp(prefix="avo-tests-")
atexit.register(shutil.rmtree, _HOME, ignore_errors=True)
os.environ["XDG_DATA_HOME"] = f"{_HOME}/data"
os.environ["XDG_STATE_HOME"] = f"{_HOME}/state"
os.environ["XDG_CONFIG_HOME"] = f"{_HOME}/config"

# Hundreds of processes are started: each finds compiled what the first one compiled, whatever the shell says of it.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
sys.dont_write_bytecode = False

# A shell starts what it puts in the background with SIGINT ignored, and every child would inherit that.
signal.signal(signal.SIGINT, signal.default_int_handler)
