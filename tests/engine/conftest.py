"""Runs of a tiny problem with real engine processes, real git and SQLite, and a scorer that is only told figures."""

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from invariants import temporary_of
from tiny import PROBLEM, until

from engine.record import commands, config
from engine.record.reader import Reader
from engine.record.run import RunFolder

HERE = Path(__file__).parent
AGENT = HERE.parent / "agent"  # the loopback model lies there
sys.path.append(str(AGENT))
ROOT = HERE.parent.parent
DEADLINE_S = 30.0


class Run:
    """One run's folder, and the engine processes that a test starts on it."""

    def __init__(self, path: Path, script: list[Any], **fields: Any) -> None:
        self.folder = RunFolder(path)
        path.mkdir(mode=0o700)
        for name in ("workspace", "artifacts"):
            (path / name).mkdir()
        problem = path.parent / "problem"
        if not problem.exists():
            (problem / "seed").mkdir(parents=True)
            (problem / "problem.toml").write_text(PROBLEM)
            (problem / "reference.py").write_text("")
            (problem / "seed" / "attention.cpp").write_text("// speed: 1.0\n")
        (path / "script.json").write_text(json.dumps(script))
        scorer = fields.pop("scorer", {})
        self.config = config.RunConfig(
            problem="tiny",
            problem_path=str(problem),
            operator=fields.pop("operator", "scripted_operator:create"),
            scorer=config.ScorerConfig(command=(sys.executable, str(HERE / "fake_scorer.py")), **scorer),
            **fields,
        )
        config.save(self.config, self.folder.config)
        self.processes: list[subprocess.Popen[bytes]] = []

    def config_with(self, **fields: Any) -> config.RunConfig:
        """The run's configuration with other values."""
        return replace(self.config, **fields)

    def aim(self, phase: str | None, *, skip: int = 0, linger_s: float = 0.0) -> None:
        """Where the next engine's reaper (reaper.py) kills it; None: nowhere."""
        (self.folder.path / "aim.json").write_text(json.dumps({"phase": phase, "skip": skip, "linger_s": linger_s}))

    def script(self, *script: Any) -> None:
        """Another script for the next engine."""
        (self.folder.path / "script.json").write_text(json.dumps(script))

    def environment(self, **more: str) -> dict[str, str]:
        """What an engine under test sees: the operators of the tests, and a mark that its children inherit."""
        path = os.pathsep.join([str(ROOT), str(HERE), str(AGENT), os.environ.get("PYTHONPATH", "")])
        own = {"PYTHONPATH": path, "AVO_TEST_RUN": str(self.folder.path), "ANTHROPIC_API_KEY": "a-key-of-the-tests"}
        temporary = temporary_of(self.folder)
        temporary.mkdir(exist_ok=True)
        return {**os.environ, **own, "TMPDIR": str(temporary), **more}

    def start(self, **environment: str) -> subprocess.Popen[bytes]:
        """Start an engine."""
        with self.folder.engine_log.open("ab") as log:
            process = subprocess.Popen(
                [sys.executable, "-m", "engine", str(self.folder.path)],
                stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True, cwd=ROOT,
                env=self.environment(**environment),
            )  # fmt: skip
        self.processes.append(process)
        return process

    def finish(self, process: subprocess.Popen[bytes] | None = None) -> int:
        """Wait for an engine's end; its exit code."""
        return (process or self.start()).wait(DEADLINE_S)

    def send(self, verb: Any, **arguments: Any) -> int:
        """Send a command."""
        return commands.send(self.folder.journal, verb, arguments, person="ada")

    def read(self) -> Reader:
        """A fresh reader; close it."""
        return Reader(self.folder.journal)

    def ask(self, question: Callable[[Reader], Any]) -> Any:
        """Ask the journal one thing; None while there is no journal."""
        if not self.folder.journal.is_file():
            return None
        with self.read() as reader:
            return question(reader)

    def until(self, question: Callable[[Reader], Any]) -> Any:
        """Poll the journal."""
        return until(lambda: self.ask(question))

    @staticmethod
    def doing(reader: Reader) -> str:
        """What the engine says it does; "" before its first beat."""
        engine = reader.engine()
        return engine.activity if engine else ""

    @staticmethod
    def state(reader: Reader) -> str:
        """What the engine says its state is; "" before its first beat."""
        engine = reader.engine()
        return engine.state if engine else ""

    def answered(self, number: int) -> tuple[str, str]:
        """A command's end: (state, reason)."""
        done = self.until(
            lambda r: [c for c in r.commands() if c.command == number and c.state in ("applied", "refused")]
        )
        return done[0].state, done[0].reason

    def log(self) -> str:
        """engine.log."""
        return self.folder.engine_log.read_text()

    def kill(self) -> None:
        """End what still runs."""
        for process in self.processes:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()


@pytest.fixture
def new_run(tmp_path: Path) -> Iterator[Callable[..., Run]]:
    """Make runs; whatever they started is killed at the end."""
    runs: list[Run] = []

    def make(*script: Any, where: Path = tmp_path, **fields: Any) -> Run:
        runs.append(Run(where / f"run{len(runs)}", list(script), **fields))
        return runs[-1]

    yield make
    for run in runs:
        run.kill()
        orphan = run.folder.artifacts / "scorer.pid"
        if orphan.exists():
            from engine.host import kill_orphan

            kill_orphan(run.folder.artifacts)


class SmallDisk:
    """A real file system of its own, to be filled, emptied and made read-only."""

    def __init__(self, path: Path, size_mb: int) -> None:
        self.path = path
        self._run("mount", "-t", "tmpfs", "-o", f"size={size_mb}m,mode=700", "avo-test", str(path))

    def fill(self, leave_mb: float = 0.0) -> None:
        """Take all room but `leave_mb` (10^6 bytes); the files that do it are the test's own."""
        number = len(list(self.path.glob("filling-*")))
        with contextlib.suppress(OSError), (self.path / f"filling-{number}").open("wb", buffering=0) as file:
            while True:
                room = shutil.disk_usage(self.path).free - int(leave_mb * 1e6)
                if room < 4096:
                    return
                file.write(bytes(min(room, 65536)))

    def empty(self) -> None:
        """Give the room back."""
        for path in self.path.glob("filling-*"):
            path.unlink()

    def read_only(self, yes: bool) -> None:
        """Refuse every write, or allow them again. A scorer that ends writes a moment longer than its engine."""
        end = time.monotonic() + DEADLINE_S
        while True:
            try:
                self._run("mount", "-o", "remount,ro" if yes else "remount,rw", str(self.path))
            except OSError:
                if time.monotonic() > end:
                    raise
                time.sleep(0.05)
            else:
                return

    def close(self) -> None:
        """Take it away, whoever still uses it."""
        self._run("umount", "-l", str(self.path))

    @staticmethod
    def _run(*command: str) -> None:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            raise OSError(f"{command[0]}: {done.stderr.strip()}")


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[SmallDisk]:
    """A disk of 24 MB; skipped where no file system may be mounted."""
    place = tmp_path / "disk"
    place.mkdir()
    try:
        disk = SmallDisk(place, 24)
    except OSError as error:
        pytest.skip(f"a file system of our own cannot be mounted here ({error})")
    yield disk
    disk.close()
