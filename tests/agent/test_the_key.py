"""A planted API key: after a whole run of the agent it stands nowhere but in the engine's own environment."""

from __future__ import annotations

import os
import secrets
import subprocess
import sys
import tarfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from messages_server import MessagesServer, Reply, say, think, use
from messages_server.faults import status

ROOT = Path(__file__).resolve().parents[2]
SMALL = ROOT / "tests" / "scorer" / "small"
SEARCH = "env; cat /proc/self/environ /proc/1/environ /proc/*/environ /proc/*/cmdline 2>/dev/null | tr '\\0' '\\n'; id"


class Curious:
    """A model that looks for the key with every tool that it has, and makes a version on the way."""

    def __init__(self) -> None:
        self.seed = (SMALL / "seed" / "attention.cpp").read_text("utf-8")
        self.replies = 0

    def __call__(self, body: dict[str, Any]) -> Reply:
        """The reply to one request."""
        if not body.get("tools"):
            return Reply([say('{"diagnosis": "", "directions": []}')])
        self.replies += 1
        faster = self.seed.replace("for (int b = 0", "#pragma omp parallel for\n    for (int b = 0", 1)
        calls = [
            use("shell", command=SEARCH),
            use("write", path="attention.cpp", content=f"// try {self.replies}\n{faster}"),
            use("evaluate", suite="quick", hypothesis="threads"),
            use("submit", message="threads", hypothesis="threads"),
            use("notes", action="append", text="looked for the key"),
            use("shell", command="sleep 600 & echo background", background=True),
        ]
        return Reply([think("where is it?"), say("Looking."), *calls])


class Sampler(threading.Thread):
    """Reads command lines and environments of everything below a process, again and again."""

    def __init__(self, engine: int, key: bytes) -> None:
        super().__init__(daemon=True)
        self.engine, self.key, self.done = engine, key, threading.Event()
        self.own = _read(engine, "cmdline")
        self.found: set[str] = set()
        self.names: set[str] = set()

    def run(self) -> None:
        """Until told to stop."""
        while not self.done.is_set():
            for pid in _below(self.engine):
                self._look(pid)
            if self.key in _read(self.engine, "cmdline"):
                self.found.add("the engine's command line")
            time.sleep(0.01)

    def _look(self, pid: int) -> None:
        command = _read(pid, "cmdline")
        if command == self.own:  # a child between fork and exec is the engine still
            return
        self.names.update(Path(os.fsdecode(word)).name for word in command.split(b"\0")[:1] if word)
        for part in ("cmdline", "environ"):
            if self.key in _read(pid, part):
                self.found.add(f"{part} of {command[:200]!r}")


def _below(root: int) -> Iterator[int]:
    """Every descendant of a process, as its threads have them."""
    todo = [root]
    while todo:
        pid = todo.pop()
        try:
            threads = os.listdir(f"/proc/{pid}/task")  # noqa: PTH208
        except OSError:
            continue
        for thread in threads:
            children = [int(child) for child in _read(pid, f"task/{thread}/children").split()]
            yield from children
            todo += children


def _read(pid: int, part: str) -> bytes:
    try:
        return Path(f"/proc/{pid}/{part}").read_bytes()
    except OSError:
        return b""


def _holding(folder: Path, key: bytes) -> list[str]:
    """Files with the key in them, whatever they are; also in names."""
    files = [p for p in folder.rglob("*") if p.is_file() and not p.is_symlink()]
    return [str(p) for p in files if key in p.read_bytes() or key in os.fsencode(p)]


@pytest.mark.timeout(300)
def test_a_planted_key_is_in_no_byte_of_the_run_its_archive_its_children_or_what_was_printed(tmp_path: Path) -> None:
    key = f"sk-ant-api03-{secrets.token_hex(24)}"
    mark = key[:40].encode()
    environment = {**os.environ, "AVO_RUNS": str(tmp_path), "ANTHROPIC_API_KEY": key, "AVO_PERSON": "lena"}

    def avo(*words: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "avo_tui.cli", *words]
        return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=250, check=False)

    policy = Curious()
    faults = [None, status(500, f"cannot serve {key[:12]}"), status(429, retry_after="0")]
    with MessagesServer(policy, key=key, faults=faults) as server:
        hasty = tmp_path / "hasty.toml"
        hasty.write_text("[scorer]\npatience_s = 0.0\n")
        arguments = (
            "--operator", "agent", "--base-url", server.url, "--detach", "--name", "k", "--minutes", "10",
            "--config", str(hasty),
        )  # fmt: skip
        started = avo("run", "--problem", str(SMALL), *arguments)
        assert started.returncode == 0, started.stderr
        from engine.record.reader import Reader

        journal = tmp_path / "k" / "journal.db"
        with Reader(journal) as reader:
            engine = reader.engine()
            assert engine is not None
            assert mark in _read(engine.pid, "environ") or os.geteuid() != 0, "the key was not where it was planted"
            sampler = Sampler(engine.pid, mark)
            sampler.start()
            deadline = time.monotonic() + 200
            while time.monotonic() < deadline and (policy.replies < 3 or reader.counts()[1] < 3):
                time.sleep(0.05)
            said = [avo("status", "k"), avo("log", "k"), avo("attempts", "k"), avo("doctor")]
            said.append(avo("archive", "k", "-o", str(tmp_path / "live.tar.gz")))
        assert policy.replies >= 3
        said.append(avo("stop", "k"))
        sampler.done.set()
        sampler.join()
    assert sampler.found == set()
    assert len(sampler.names) >= 3, sampler.names  # it did see the scorer, sandboxes and commands
    said.append(avo("archive", "k", "-o", str(tmp_path / "dead.tar.gz")))
    for file in ("live", "dead"):
        with tarfile.open(tmp_path / f"{file}.tar.gz") as tar:
            tar.extractall(tmp_path / file, filter="data")
    assert not [s.stdout + s.stderr for s in [started, *said] if mark.decode() in s.stdout + s.stderr]
    assert _holding(tmp_path, mark) == []
    assert _holding(Path(os.environ["XDG_DATA_HOME"]), mark) == []
    assert (tmp_path / "k").stat().st_mode & 0o077 == 0
    shells = list((tmp_path / "k" / "artifacts").rglob("*shell.log*"))
    assert shells and any("uid=" in p.read_text(errors="replace") for p in shells if p.suffix == ".log")


# Both begin as whoever runs the tests and, when that is root, become nobody: root may read everything.
BECOME = """
import ctypes, os, subprocess, sys
sys.path.insert(0, sys.argv[1])
from private import keep_private
libc = ctypes.CDLL(None)
if os.geteuid() == 0:
    os.setgroups([])
    os.setgid(65534)
    os.setuid(65534)
    libc.prctl(4, 1, 0, 0, 0)  # a change of user took it away already; the test is about ours
"""
PRIVATE = f"""{BECOME}
before = os.stat("/proc/self/environ").st_uid
keep_private()
child = subprocess.Popen(["sleep", "60"])
while b"sleep" not in open(f"/proc/{{child.pid}}/cmdline", "rb").read():
    pass
print(os.getuid(), before, os.stat("/proc/self/environ").st_uid, os.stat(f"/proc/{{child.pid}}/environ").st_uid, flush=True)
sys.stdin.read()
child.kill()
child.wait()
"""
PEEK = f"""{BECOME}
print(open(f"/proc/{{sys.argv[2]}}/environ", "rb").read())
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="prctl is Linux's")
def test_another_process_of_the_same_user_cannot_read_the_engines_environment_and_children_are_as_ever() -> None:
    place = str(ROOT / "engine")
    command = [sys.executable, "-c", PRIVATE, place]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd="/") as process:
        assert process.stdout is not None
        me, before, after, child = process.stdout.readline().split()
        assert (before, after, child) == (me, "0", me), "what is not dumpable belongs to root; its children do not"
        peek = [sys.executable, "-c", PEEK, place, str(process.pid)]
        done = subprocess.run(peek, capture_output=True, text=True, cwd="/", check=False)
        assert "PermissionError" in done.stderr
        process.communicate("")
