"""Launching: makes a run's folder, and starts its engine as a process of its own that outlives every viewer.

A launch either ends with an engine whose heartbeat was seen, or with the one line that it failed with.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

from engine.record.config import RunConfig, save
from engine.record.errors import AvoError, ConfigError, JournalError, Refused
from engine.record.frozen import dataclass
from engine.record.liveness import engine_alive
from engine.record.reader import Reader
from engine.record.run import RunFolder, create_run

WAIT_S = 30.0
POLL_S = 0.02
LEAST_FREE = 1 << 20  # bytes; with less, a journal cannot begin, and engine.log may have no room for a last line
NVCC_PLACES = ("/usr/local/cuda/bin/nvcc", "/opt/cuda/bin/nvcc")
COMPILERS = ("c++", "g++", "clang++")


class EngineFailed(AvoError):
    """The engine ended, or fell silent, before its first heartbeat."""


@dataclass(frozen=True, slots=True)
class Missing:
    """Something that a run needs and this machine lacks, and the command that mends it."""

    what: str
    mend: str

    def __str__(self) -> str:
        return f"{self.what} is missing; {self.mend}"


@dataclass(frozen=True, slots=True)
class Started:
    """An engine that this process started. It outlives this process, which may ask how it ended."""

    pid: int
    log_from: int

    def code(self, wait_s: float = 5.0) -> int | None:
        """The engine's exit code, or None when it still runs after `wait_s` (or another process started it)."""
        deadline = time.monotonic() + wait_s
        while True:
            try:
                pid, status = os.waitpid(self.pid, os.WNOHANG)
            except ChildProcessError:
                return None
            if pid:
                return os.waitstatus_to_exitcode(status)
            if time.monotonic() > deadline:
                return None
            time.sleep(POLL_S)


def missing(language: str | None) -> list[Missing]:
    """What a run of a problem in this language ("cpp" or "cuda"; None: scored elsewhere) lacks on this machine."""
    lacks = []
    if shutil.which("git") is None:
        lacks.append(Missing("git", "install it (Debian and Ubuntu: apt install git)"))
    if language == "cuda" and nvcc() is None:
        lacks.append(Missing("nvcc, the CUDA compiler,", "install the CUDA toolkit and put its bin folder on PATH"))
    if language == "cpp" and compiler() is None:
        lacks.append(Missing("a C++ compiler", "install one (Debian and Ubuntu: apt install g++)"))
    return lacks


def nvcc() -> str | None:
    """The CUDA compiler: on PATH, or where the toolkit puts it."""
    return shutil.which("nvcc") or next((p for p in NVCC_PLACES if Path(p).is_file()), None)


def compiler() -> str | None:
    """The system's C++ compiler: $CXX, else the first of c++, g++ and clang++."""
    named = (os.environ.get("CXX", ""), *COMPILERS)
    return next((found for name in named if name and (found := shutil.which(name))), None)


def require(language: str | None) -> None:
    """Raises with one line when this machine lacks what a run needs (`missing`)."""
    if lacks := missing(language):
        raise ConfigError("; ".join(map(str, lacks)) + "; 'avo doctor' says what this machine can do")


def prepare(directory: Path, config: RunConfig, name: str | None) -> RunFolder:
    """A new run's folder with its config.toml."""
    folder = create_run(directory, config.problem, name)
    try:
        save(config, folder.config)
    except OSError as error:
        shutil.rmtree(folder.path, ignore_errors=True)  # the name is free again once there is room
        raise ConfigError(
            f"cannot write {folder.config}: {error.strerror}; choose another place with --runs"
        ) from error
    return folder


def start(folder: RunFolder, wait_s: float = WAIT_S) -> Started:
    """Start the engine detached and wait for its first heartbeat.

    Raises Refused when the engine declined the run (another one has it), EngineFailed with the last line
    of its log when it ended otherwise.
    """
    try:
        size = folder.engine_log.stat().st_size if folder.engine_log.exists() else 0
        with folder.engine_log.open("ab") as log:
            process = subprocess.Popen(
                [sys.executable, "-P", "-m", "engine", str(folder.path)],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=folder.path,
                env=_environment(),
                start_new_session=True,
            )
    except OSError as error:
        raise ConfigError(f"cannot start an engine in {folder.path}: {error.strerror or error}") from error
    _await_heartbeat(process, folder, size, time.monotonic() + wait_s)
    # The engine outlives this process on purpose; Popen must not warn of that. `Started.code` asks the kernel itself.
    process.returncode = 0
    return Started(process.pid, size)


def _environment() -> dict[str, str]:
    """This process's environment, with the place of this very `engine` first, also when it is not installed."""
    here = str(Path(__file__).resolve().parent.parent)
    before = os.environ.get("PYTHONPATH")
    return {**os.environ, "PYTHONPATH": here + (os.pathsep + before if before else ""), "PYTHONUNBUFFERED": "1"}


def _await_heartbeat(process: subprocess.Popen[bytes], folder: RunFolder, logged: int, deadline: float) -> None:
    while process.poll() is None:
        if _beats(folder, process.pid):
            return
        if time.monotonic() > deadline:
            process.kill()
            process.wait()
            raise EngineFailed(f"the engine gave no sign of life in time and was stopped; see {folder.engine_log}")
        time.sleep(POLL_S)
    if process.returncode == 0 and folder.journal.is_file():
        return  # it began and finished before anybody looked
    said = last_line(folder, logged)
    if shutil.disk_usage(folder.path).free < LEAST_FREE:
        begun = folder.journal.is_file()
        then = "then resume" if begun else "then start it again"
        said = said or f"the disk of {folder.path} is full, and the engine could not even say so; free some, {then}"
        if not begun:
            shutil.rmtree(folder.path, ignore_errors=True)  # nothing is in it, and its name is free again
    if process.returncode == 1:
        raise Refused(said or f"the engine refused run {folder.name}")
    raise EngineFailed(said or f"the engine ended with code {process.returncode} and said nothing; {folder.engine_log}")


def _beats(folder: RunFolder, pid: int) -> bool:
    if not folder.journal.is_file():
        return False
    try:
        with Reader(folder.journal) as reader:
            engine = reader.engine()
    except JournalError:
        return False  # still being made
    return engine is not None and engine.pid == pid and engine_alive(engine)


def last_line(folder: RunFolder, after: int = 0) -> str:
    """The last line that the engine wrote to its log beyond a position, or ""."""
    try:
        with folder.engine_log.open("rb") as file:
            file.seek(max(after, folder.engine_log.stat().st_size - 16_384))
            lines = [line.strip() for line in file.read().decode("utf-8", "replace").splitlines() if line.strip()]
    except OSError:
        return ""
    return lines[-1].removeprefix("avo engine: ") if lines else ""
