"""What no test may touch: the person's own knowledge pages and runs."""

from __future__ import annotations

import os
import tempfile

# Set before any test starts a process, so that engines started by tests write their lessons here.
_HOME = tempfile.mkdtemp(prefix="avo-tests-")
os.environ["XDG_DATA_HOME"] = f"{_HOME}/data"
os.environ["XDG_STATE_HOME"] = f"{_HOME}/state"
os.environ["XDG_CONFIG_HOME"] = f"{_HOME}/config"
