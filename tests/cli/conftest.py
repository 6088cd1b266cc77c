"""The command line as a person meets it: real `avo` processes, on runs that a real engine made with a fake scorer."""

import contextlib
import json
import os
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from tiny import DEADLINE_S, PROBLEM, until
from waiting import versions_of

from engine.record.errors import AvoError
from engine.record.liveness import engine_alive
from engine.record.reader import Reader
from engine.record.run import RunFolder

HERE = Path(__file__).parent
ENGINE_TESTS = HERE.parent / "engine"


@dataclass(frozen=True)
class Said:
    """What a command printed, and its exit code."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        """Standard output, which must be exactly one JSON value."""
        return json.loads(self.out)

    def refused(self, code: int, *words: str) -> None:
        """It ended with this code and one line on standard error that holds these words."""
        assert self.code == code, self
        lines = self.err.strip().splitlines()
        assert len(lines) == 1, self.err
        assert lines[0].startswith("avo: "), self.err
        assert all(word in lines[0] for word in words), self.err


class Shell:
    """A person's shell: `avo` with an environment of its own."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self.runs = home / "runs"
        # COLUMNS and LINES: where readline is loaded it puts them into this process's environment.
        left_out = ("ANTHROPIC", "AVO", "COLUMNS", "LINES")
        keep = {k: v for k, v in os.environ.items() if not k.startswith(left_out)}
        self.env = {
            **keep,
            "AVO_RUNS": str(self.runs),
            "AVO_CACHE": os.environ["AVO_CACHE"],
            "AVO_PERSON": "ada",
            "HOME": str(home),
            "PYTHONPATH": f"{HERE}{os.pathsep}{ENGINE_TESTS}",
            "TERM": "xterm-256color",
        }

    def popen(self, *words: str, **options: Any) -> subprocess.Popen[str]:
        """Start `avo`. A score is measured for long only where a test asks for it."""
        if words[:1] == ("score",) and "--patience" not in words:
            words = (*words, "--patience", "0")
        piped: dict[str, Any] = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
        env = {**self.env, **options.pop("env", {})}
        return subprocess.Popen(
            [sys.executable, "-m", "avo_tui.cli", *words], env=env, text=True, **{**piped, **options}
        )

    def __call__(self, *words: str, stdin: str | None = None, **options: Any) -> Said:
        """Run `avo` to its end."""
        if stdin is not None:
            options["stdin"] = subprocess.PIPE
        with self.popen(*words, **options) as process:
            out, err = process.communicate(stdin, timeout=DEADLINE_S)
        return Said(process.returncode, out, err)

    def config(self, **limits: float) -> str:
        """A --config file for the climber and the fake scorer."""
        path = self.home / "config.toml"
        lines = ['operator = "climber:create"', "[scorer]"]
        lines.append(f"command = [{json.dumps(sys.executable)}, {json.dumps(str(ENGINE_TESTS / 'fake_scorer.py'))}]")
        lines += ["[limits]", *(f"{k} = {v}" for k, v in limits.items())]
        path.write_text("\n".join(lines) + "\n")
        return str(path)

    def problem(self) -> str:
        """The tiny problem's folder."""
        folder = self.home / "tiny"
        if not folder.exists():
            (folder / "seed").mkdir(parents=True)
            (folder / "problem.toml").write_text(PROBLEM)
            (folder / "reference.py").write_text("")
            (folder / "seed" / "attention.cpp").write_text("// speed: 1.0\n")
        return str(folder)

    def start(self, name: str, **limits: float) -> RunFolder:
        """A living run of the climber."""
        words = ("run", "--problem", self.problem(), "--config", self.config(**limits), "--name", name, "--detach")
        said = self(*words)
        assert said.code == 0, said
        return RunFolder(self.runs / name)

    def end(self) -> None:
        """Kill every engine that was started here."""
        for journal in self.runs.glob("*/journal.db"):
            try:
                with Reader(journal) as reader:
                    engine = reader.engine()
            except AvoError:
                continue
            if engine is not None and engine_alive(engine):
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(engine.pid, signal.SIGKILL)
            orphan(journal.parent)


def orphan(folder: Path) -> None:
    """Kill a scorer that a killed engine left."""
    if (folder / "artifacts" / "scorer.pid").exists():
        from engine.host import kill_orphan

        kill_orphan(folder / "artifacts")


@pytest.fixture
def avo(tmp_path: Path) -> Iterator[Shell]:
    """A shell with no runs yet."""
    shell = Shell(tmp_path)
    yield shell
    shell.end()


@pytest.fixture
def living(avo: Shell) -> RunFolder:
    """A living run that climbed to v4 and waits for its person."""
    folder = avo.start("alive")
    until(lambda: versions_of(folder) == 5)
    return folder


@pytest.fixture(scope="module")
def calm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shell]:
    """A shell with a living run, `alive`, that climbed to v4: for tests that leave it as alive, and with its versions."""
    shell = Shell(tmp_path_factory.mktemp("calm"))
    folder = shell.start("alive")
    until(lambda: versions_of(folder) == 5)
    yield shell
    shell.end()


@pytest.fixture(scope="session")
def past(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shell]:
    """A shell with one finished run, `climb`, that tests only look at."""
    shell = Shell(tmp_path_factory.mktemp("past"))
    folder = shell.start("climb", versions=4)
    try:
        until(lambda: shell("status", "climb", "--json").json["state"] == "finished")
        until(lambda: not shell("status", "climb", "--json").json["engine_alive"])
    except AssertionError:
        pytest.fail(f"{shell('log', 'climb').out}\n{folder.engine_log.read_text()}")
    # A look just when the engine closed keeps SQLite's log beside the journal, and tests copy the journal alone.
    with contextlib.closing(sqlite3.connect(folder.journal)) as journal:
        journal.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    assert versions_of(folder) == 5, folder.engine_log.read_text()
    yield shell
    shell.end()
