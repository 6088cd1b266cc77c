"""Attack a sandbox before it is trusted: probe.c tries from inside, this module looks from outside.

One rule: silence is failure. An attack that was not reported as held counts as broken, and so does a probe that
could not be started.
"""

from __future__ import annotations

import contextlib
import os
import selectors
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from engine.record.errors import AvoError
from engine.record.scores import Check
from engine.scorer import toolchain as tools
from engine.scorer.sandbox import BWRAP, Sandbox, confine, kill, prepare
from engine.scorer.text import one_line

INSIDE = (
    "read-outside",
    "parent-environment",
    "parent-memory",
    "signal-parent",
    "network-tcp",
    "unix-socket",
    "host-settings",
    "mount",
    "new-namespaces",
    "fork-storm",
)
TIMEOUT_S = 15.0
DEATH_S = 5.0


def attack(sandbox: Sandbox) -> tuple[Check, ...]:
    """Every attack and whether the sandbox held. All failed, with the reason, when it cannot even start."""
    if sandbox.tier == BWRAP and sandbox.bwrap is None:
        return (Check("start", False, detail="bubblewrap (bwrap) is not installed"),)
    try:
        with tempfile.TemporaryDirectory(prefix="probe-", dir=sandbox.cache) as folder:
            Path(folder).chmod(0o711)  # the sandbox's uid must reach what lies in it
            return _attack(sandbox, Path(folder))
    except (AvoError, OSError) as error:
        return (Check("start", False, detail=str(error)),)


def _attack(sandbox: Sandbox, folder: Path) -> tuple[Check, ...]:
    workspace, secret, canary = folder / "workspace", folder / "secret", folder / "canary"
    workspace.mkdir(mode=0o755)
    secret.write_text("a secret that everybody may read\n")
    canary.write_text("untouched")
    canary.chmod(0o666)  # only the sandbox stands before it
    prepare(sandbox, workspace)
    with _listening(folder / "socket") as (port, path):
        said, daemon_died = _run(sandbox, workspace, [str(secret), str(canary), str(os.getpid()), str(port), path])
    lines = dict(line.split(" ", 1) for line in said.splitlines() if " " in line)
    if "done" not in said.split():
        return (Check("start", False, detail=one_line(said) or "the probe did not run to its end"),)
    found = [
        Check(name, lines.get(name) == "held", detail=lines.get(name, "not tried").removeprefix("held"))
        for name in INSIDE
    ]
    found.append(Check("write-outside", canary.read_text() == "untouched", detail=""))
    found.append(Check("daemon", daemon_died, detail="" if daemon_died else "a process outlived the sandbox"))
    return tuple(found)


def _run(sandbox: Sandbox, workspace: Path, arguments: list[str]) -> tuple[str, bool]:
    """Run the probe inside, kill the sandbox, and see whether everything in it died."""
    probe = tools.probe(tools.find())
    hold_read, hold_write = os.pipe()
    try:
        job = confine(sandbox, [str(probe), *arguments, str(hold_write)], writable=workspace, readable=(probe,))
        process = subprocess.Popen(
            job.argv,
            env=job.env,
            cwd=job.cwd,
            pass_fds=(*job.pass_fds, hold_write),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    except OSError as error:
        os.close(hold_read)
        os.close(hold_write)
        return f"{error.strerror}\n", False
    os.close(hold_write)
    said = _until_done(process)
    kill(process.pid)
    process.wait()
    died = _closes(hold_read)
    os.close(hold_read)
    return said, died


def _until_done(process: subprocess.Popen[bytes]) -> str:
    assert process.stdout is not None
    said, deadline = b"", time.monotonic() + TIMEOUT_S
    with process.stdout, selectors.DefaultSelector() as selector:
        selector.register(process.stdout, selectors.EVENT_READ)
        while not said.endswith(b"done\n") and (left := deadline - time.monotonic()) > 0:
            if not selector.select(left):
                break
            data = os.read(process.stdout.fileno(), 4096)
            if not data:
                break
            said += data
    return said.decode("utf-8", "replace")


def _closes(fd: int) -> bool:
    """Whether every other holder of a pipe ends within DEATH_S."""
    with selectors.DefaultSelector() as selector:
        selector.register(fd, selectors.EVENT_READ)
        return bool(selector.select(DEATH_S)) and os.read(fd, 1) == b""


@contextlib.contextmanager
def _listening(path: Path) -> Iterator[tuple[int, str]]:
    """A TCP port, a socket with a path and one with an abstract name, all open to whoever can reach them."""
    with contextlib.ExitStack() as stack:
        tcp = stack.enter_context(socket.socket(socket.AF_INET))
        tcp.bind(("127.0.0.1", 0))
        tcp.listen()
        for name in (str(path), "\0" + str(path)[1:]):
            local = stack.enter_context(socket.socket(socket.AF_UNIX))
            local.bind(name)
            local.listen()
        path.chmod(0o777)  # only the sandbox stands before it
        yield tcp.getsockname()[1], str(path)
