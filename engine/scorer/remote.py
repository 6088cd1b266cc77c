"""A scorer on another node: takes letters, and passes on what a scorer process of its own says to them.

One rule: it needs nothing of the machine that asks but the letter. It is what a cluster keeps on a node, for as
long as the engine holds the device there.
"""

from __future__ import annotations

import contextlib
import ctypes
import fcntl
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import IO, Any

from engine.scorer.spool import placed

DIED = "died"
HOME = "avo-remote-"
YOUNG_S = 60.0


class Remote:
    """One scorer process, `command` or this package's own, started with the first letter.

    `secrets` is a pattern: variables with such names do not reach the process.
    """

    def __init__(self, command: Sequence[str], secrets: str) -> None:
        self._command = list(command) or [sys.executable, "-m", "engine.scorer", "--serve"]
        self._secrets = re.compile(secrets, re.IGNORECASE)
        _sweep()
        self._home = tempfile.TemporaryDirectory(prefix=HOME)
        self._held = _lock(Path(self._home.name))
        self._process: subprocess.Popen[bytes] | None = None

    def place(self) -> str:
        """Names this node and the device that it was given."""
        device = os.environ.get("CUDA_VISIBLE_DEVICES", "")
        return f"{socket.gethostname()} {device}".strip() + f" ({os.getpid()})"

    def ask(self, letter: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
        """Every message about one request, the last one its `result`, `error` or `died`."""
        process = self._started()
        assert process.stdin is not None
        assert process.stdout is not None
        request = {**placed(letter, Path(self._home.name)), "id": letter["id"], "op": letter["fields"]["op"]}
        with contextlib.suppress(BrokenPipeError):
            process.stdin.write(json.dumps(request).encode() + b"\n")
            process.stdin.flush()
        for line in process.stdout:
            message = json.loads(line)
            if message.get("id") == letter["id"]:
                yield message
                if message["event"] in ("result", "error"):
                    return
        self._process = None
        yield {"event": DIED, "error": f"the scorer ended with code {process.wait()}"}

    def _started(self) -> subprocess.Popen[bytes]:
        if self._process is None or self._process.poll() is not None:
            kept = {k: v for k, v in os.environ.items() if not self._secrets.search(k)}
            here = str(Path(__file__).resolve().parents[2])
            self._process = subprocess.Popen(
                self._command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                start_new_session=True,
                preexec_fn=_end_with_parent,  # noqa: PLW1509 the child only calls into libc
                env={**kept, "PYTHONPATH": os.pathsep.join(filter(None, [here, kept.get("PYTHONPATH", "")]))},
            )
        return self._process


def _sweep() -> None:
    """Remove the homes of those that were killed. What is younger may not be locked yet."""
    for place in Path(tempfile.gettempdir()).glob(f"{HOME}*"):
        with contextlib.suppress(OSError):  # another's, or another removes it just now
            if time.time() - place.stat().st_mtime > YOUNG_S:
                _lock(place).close()
                shutil.rmtree(place)


def _lock(home: Path) -> IO[bytes]:
    """The home's lock, for as long as this file is open. Raises BlockingIOError when its owner lives."""
    file = (home / ".lock").open("ab")
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        file.close()
        raise
    return file


def _end_with_parent() -> None:
    """Be asked to leave when the process that holds us is killed (prctl(2), PR_SET_PDEATHSIG)."""
    ctypes.CDLL(None).prctl(1, signal.SIGTERM, 0, 0, 0)
