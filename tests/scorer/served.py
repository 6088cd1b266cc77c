"""A real scorer, served over pipes as the engine has it, shared by the tests of a session."""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import queue
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from engine.scorer import toolchain as tools

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
KERNELS = ROOT / "kernels"
SMALL = HERE / "small"


class ScorerFailed(Exception):
    """The scorer answered `error`: its own failure, never a candidate's."""


class Scorer:
    """`python -m engine.scorer --serve`, one request at a time."""

    def __init__(self, environment: Mapping[str, str] | None = None) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-m", "engine.scorer", "--serve"],
            cwd=ROOT,
            env={**os.environ, **(environment or {})},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            start_new_session=True,
        )
        self.events: list[dict[str, Any]] = []
        self._numbers = itertools.count()
        self._lines: queue.Queue[str] = queue.Queue()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def send(self, **request: Any) -> str:
        name = str(request.setdefault("id", f"r{next(self._numbers)}"))
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps({"id": name, **request}, default=str) + "\n")
        self.process.stdin.flush()
        return name

    def next(self, timeout_s: float = 100.0) -> dict[str, Any]:
        line = self._lines.get(timeout=timeout_s)
        assert line, "the scorer's process ended"
        return json.loads(line)

    def ask(self, **request: Any) -> Any:
        """The result of one request; its progress lands in `events`."""
        name = self.send(**request)
        self.events = []
        while True:
            event = self.next()
            assert event["id"] == name
            if event["event"] == "error":
                raise ScorerFailed(event["error"])
            if event["event"] == "result":
                return event["result"]
            self.events.append(event)

    def score(self, source: Path, problem: Path = SMALL, **more: Any) -> Any:
        more.setdefault("suite", "quick")
        return self.ask(op="score", source=source, problem=problem, **more)

    def close(self) -> None:
        assert self.process.stdin is not None and self.process.stdout is not None
        with contextlib.suppress(BrokenPipeError):
            self.process.stdin.close()
        try:
            self.process.wait(10)
        except subprocess.TimeoutExpired:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()
        self._reader.join(5)
        self.process.stdout.close()

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self._lines.put(line)
        self._lines.put("")


def with_programs(cache: Path) -> None:
    """Put the scorer's own programs and what it found of references into a cache, from the session's."""
    session = tools.find()
    for program in (tools.runner, tools.launcher, tools.probe, tools.hands):
        shutil.copy(program(session), cache)
    for agreement in session.cache.glob("agreed-*"):
        shutil.copy(agreement, cache)


def path_without(*programs: str, place: Path) -> str:
    """A PATH that has every program of this one but these."""
    place.mkdir(parents=True, exist_ok=True)
    for folder in os.environ["PATH"].split(os.pathsep):
        for program in Path(folder).glob("*") if folder else ():
            if program.name not in programs and not (place / program.name).exists():
                (place / program.name).symlink_to(program)
    return str(place)


def failed_checks(score: Mapping[str, Any]) -> list[str]:
    """Names of the integrity checks that a score failed."""
    return [c["name"] for c in score["integrity"]["checks"] if not c["passed"]]


def descendants(pid: int) -> list[int]:
    """Every living process below one."""
    parents: dict[int, list[int]] = {}
    for process in Path("/proc").iterdir():
        if process.name.isdigit():
            try:
                fields = (process / "stat").read_text().rpartition(")")[2].split()
            except OSError:
                continue
            if fields[0] != "Z":
                parents.setdefault(int(fields[1]), []).append(int(process.name))
    found, todo = [], [pid]
    while todo:
        children = parents.get(todo.pop(), [])
        found += children
        todo += children
    return found


def name_of(pid: int) -> str:
    """What the kernel calls a process; nothing once it is gone."""
    try:
        return Path(f"/proc/{pid}/comm").read_text().strip()
    except OSError:
        return ""
