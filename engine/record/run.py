"""A run's folder: where runs live, what lies in one, and how a run is found by name."""

from __future__ import annotations

import os
import re
from datetime import datetime
from pathlib import Path

from engine.record.errors import ConfigError, RunNotFound, UsageError
from engine.record.frozen import dataclass

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}\Z")
SUMS = "SHA256SUMS"
# The journal's meta of this name: logs of attempts before that time were taken away on purpose.
LOGS_DROPPED = "logs_dropped_before"


@dataclass(frozen=True, slots=True)
class RunFolder:
    """The paths of one run. The folder is private to its owner (0700)."""

    path: Path

    @property
    def name(self) -> str:
        """The run's name, which is its folder's."""
        return self.path.name

    @property
    def config(self) -> Path:
        """config.toml: what the run was started with."""
        return self.path / "config.toml"

    @property
    def journal(self) -> Path:
        """journal.db: every fact of the run."""
        return self.path / "journal.db"

    @property
    def lineage(self) -> Path:
        """lineage/: the git repository of committed versions."""
        return self.path / "lineage"

    @property
    def workspace(self) -> Path:
        """workspace/: where the operator edits the candidate."""
        return self.path / "workspace"

    @property
    def artifacts(self) -> Path:
        """artifacts/: build, profile and tool logs, one file each."""
        return self.path / "artifacts"

    @property
    def engine_log(self) -> Path:
        """engine.log: standard output and error of the engine process."""
        return self.path / "engine.log"

    @property
    def lock(self) -> Path:
        """engine.lock: held with flock by the one engine of this run; holds its pid."""
        return self.path / "engine.lock"

    def log(self, name: str) -> Path | None:
        """A log that the journal names by its path in this folder: where it lies now, perhaps compressed (.gz)."""
        if not name or "\n" in name or len(name) > 255:
            return None
        for path in (self.path / name, self.artifacts / name):
            packed = path.with_name(path.name + ".gz")
            if found := next((p for p in (path, packed) if p.is_file()), None):
                return found
        return None


def runs_directory(given: str | Path | None = None) -> Path:
    """Where runs live: `given`, else $AVO_RUNS, else $XDG_STATE_HOME/avo/runs (~/.local/state/avo/runs)."""
    if given:
        return Path(given).expanduser().absolute()
    if named := os.environ.get("AVO_RUNS"):
        return Path(named).expanduser().absolute()
    state = os.environ.get("XDG_STATE_HOME") or "~/.local/state"
    return Path(state).expanduser().absolute() / "avo" / "runs"


def list_runs(directory: Path) -> list[RunFolder]:
    """Every run in `directory`, newest first (by the journal's last write)."""
    if not directory.is_dir():
        return []
    folders = [RunFolder(p) for p in directory.iterdir() if (p / "journal.db").is_file()]
    return sorted(folders, key=_last_write, reverse=True)


def _last_write(folder: RunFolder) -> float:
    wal = folder.path / "journal.db-wal"
    return max(p.stat().st_mtime for p in (folder.journal, wal) if p.exists())


def find_run(directory: Path, name: str | None) -> RunFolder:
    """The run called `name` (or a path to one, or a unique prefix); the newest when None."""
    if name is None:
        runs = list_runs(directory)
        if not runs:
            raise RunNotFound(f"no runs in {directory}; start one with 'avo run'")
        return runs[0]
    if "/" in name and (Path(name) / "journal.db").is_file():
        return RunFolder(Path(name).absolute())
    exact = directory / name
    if _NAME.match(name) and (exact / "journal.db").is_file():
        return RunFolder(exact)
    if _NAME.match(name) and (exact / "config.toml").is_file():
        lost = "it did not begin, or its journal was lost; 'avo restore' brings an archive back"
        raise RunNotFound(f"run {name} in {directory} has no journal.db: {lost}")
    matches = [r for r in list_runs(directory) if r.name.startswith(name)]
    if len(matches) == 1:
        return matches[0]
    if matches:
        raise RunNotFound(f"{name!r} is a prefix of {len(matches)} runs; 'avo runs' lists them")
    raise RunNotFound(f"no run {name!r} in {directory}; 'avo runs' lists them")


def create_run(directory: Path, problem: str, name: str | None = None) -> RunFolder:
    """Make a new run's folder, private to its owner. The default name is problem, date and time."""
    if name is not None and not _NAME.match(name):
        raise UsageError(f"run name {name!r} is not usable; letters, digits, '.', '_' and '-', at most 64")
    base = name or f"{problem}-{datetime.now():%m%d-%H%M}"
    try:
        directory.mkdir(parents=True, exist_ok=True)
        folder = RunFolder(_reserve(directory, base, unique=name is None))
        for path in (folder.workspace, folder.artifacts):
            path.mkdir(mode=0o700)
    except OSError as error:
        raise ConfigError(f"cannot make a run in {directory}: {error.strerror}; choose another with --runs") from error
    return folder


def _reserve(directory: Path, base: str, *, unique: bool) -> Path:
    for n in range(1, 1000):
        path = directory / (base if n == 1 else f"{base}-{n}")
        try:
            path.mkdir(mode=0o700)
        except FileExistsError:
            if not unique:
                raise UsageError(f"run {base!r} exists already; 'avo resume {base}' continues it") from None
        else:
            return path
    raise UsageError(f"a thousand runs are called {base!r} in {directory}; name this one with --name")
