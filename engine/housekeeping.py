"""Housekeeping: what a run takes of the disk stays within its quotas, for weeks. Done between turns, never while
something is measured, and at most `BUDGET_S` at a time.

One rule: the journal and the lineage are never touched. What goes is what can be made again (builds, attempts'
sources that git or the journal's diffs have too), then the oldest logs; what stays is written down with its hash.
"""

from __future__ import annotations

import contextlib
import gzip
import hashlib
import os
import shutil
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from engine.intake import is_source
from engine.record.config import Housekeeping
from engine.record.run import SUMS, RunFolder
from engine.scorer.toolchain import default_cache

MB = 1_000_000
BUDGET_S = 0.5
SMALL_BYTES = 4096  # a smaller file takes one block anyway
BATCH = 256
FIRST_S = 10.0
SETTLED_S = 5.0  # a log younger than this may still be written
KEPT_CANDIDATES = 64
KEPT_EPOCHS = 2
CACHE_YOUNG_S = 3600.0
PARTIAL = ".part"
_LIVE = frozenset({".pid", ".sock", ".lock", PARTIAL})
_NO_LOGS = frozenset({"candidates"})


@dataclass(slots=True)
class Tidied:
    """What one round did: sentences for the journal, and the time before which logs may be gone (None: no change)."""

    notes: list[str] = field(default_factory=list)
    compressed: int = 0
    dropped_before: float | None = None


@dataclass(frozen=True, slots=True)
class _File:
    path: Path
    size: int
    mtime: float


class Housekeeper:
    """One run's. `tidy` touches no database and may run in a thread."""

    def __init__(self, run: RunFolder, rule: Housekeeping) -> None:
        self._run, self._rule = run, rule
        self._next = time.monotonic() + FIRST_S  # an engine that resumes has better things to do
        self._known: set[str] | None = None

    # --- tidying ---------------------------------------------------------------------------

    def due(self) -> bool:
        """Whether a round should be made at this boundary."""
        return time.monotonic() >= self._next

    def tidy(self, *, everything: bool = False) -> Tidied:
        """One round. `everything` takes the time that it takes: the run ends."""
        begin = time.monotonic()
        done = Tidied()
        end = float("inf") if everything else begin + BUDGET_S
        with contextlib.suppress(OSError):  # a full or read-only disk is said by whoever has to write
            self._compress(done, end)
            self._write_sums(end, settled_s=0.0 if everything else SETTLED_S)
            self._within_quota(done)
            self._workspace(done)
            self._rotate(self._run.engine_log, self._run.artifacts / "scorer.log")
            self._cache(done, end)
        late = time.monotonic() >= end
        self._next = time.monotonic() + (1.0 if late else self._rule.every_s)
        return done

    def _logs(self) -> Iterator[_File]:
        """Finished logs under artifacts/, any age."""
        for folder, folders, names in os.walk(self._run.artifacts):
            if folder == str(self._run.artifacts):
                folders[:] = [f for f in folders if f not in _NO_LOGS]
                continue
            yield from _files(Path(folder), names)

    def _compress(self, done: Tidied, end: float) -> None:
        old = time.time() - 60 * self._rule.compress_after_minutes
        plain = [f for f in self._logs() if f.mtime < old and f.size > SMALL_BYTES and f.path.suffix != ".gz"]
        batch = [*sorted(plain, key=lambda f: f.mtime), *self._epochs(old)][:BATCH]
        self._forget(f.path for f in batch)  # first: a file without its hash is not wrong, a hash without its file is
        for file in batch:
            if time.monotonic() >= end:
                return
            _squeeze(file)
            done.compressed += 1

    def _epochs(self, old: float) -> list[_File]:
        """The agent's conversations that no resume reads any more."""
        folder = self._run.path / "agent"
        found = [f for f in _files(folder, _names(folder)) if f.path.suffix == ".jsonl"]
        return [f for f in sorted(found, key=lambda f: f.mtime)[:-KEPT_EPOCHS] if f.mtime < old]

    def _write_sums(self, end: float, settled_s: float) -> None:
        """Append the hash of each log that is new or was written again (`sha256sum -c` reads the same file)."""
        place, now = self._run.artifacts / SUMS, time.time()
        known = self._sums()
        since = place.stat().st_mtime if place.exists() else 0.0
        fresh = [f for f in self._logs() if now - f.mtime >= settled_s and "\n" not in f.path.name]
        fresh = [f for f in fresh if self._name(f.path) not in known or f.mtime > since]
        self._forget(f.path for f in fresh)
        lines = []
        for file in fresh:
            if time.monotonic() >= end:
                break
            with contextlib.suppress(FileNotFoundError), file.path.open("rb") as opened:
                lines.append(f"{hashlib.file_digest(opened, 'sha256').hexdigest()}  {self._name(file.path)}\n")
                known.add(self._name(file.path))
        if lines:
            with place.open("a", encoding="utf-8") as sums:
                sums.writelines(lines)
            os.utime(place, (now, now))

    def _name(self, path: Path) -> str:
        """A file's path under artifacts/; "" for one that lies elsewhere."""
        inside = path.is_relative_to(self._run.artifacts)
        return path.relative_to(self._run.artifacts).as_posix() if inside else ""

    def _sums(self) -> set[str]:
        if self._known is None:
            place = self._run.artifacts / SUMS
            text = place.read_text("utf-8", "replace") if place.exists() else ""
            self._known = {line[66:] for line in text.splitlines() if len(line) > 66}
        return self._known

    def _forget(self, paths: Iterable[Path]) -> None:
        """Take the lines of files out of the sums."""
        place, known = self._run.artifacts / SUMS, self._sums()
        gone = {self._name(p) for p in paths} & known
        if not gone:
            return
        lines = place.read_text("utf-8").splitlines(keepends=True)
        at, fresh = place.stat().st_mtime, place.with_name(SUMS + PARTIAL)
        fresh.write_text("".join(line for line in lines if line[66:].rstrip("\n") not in gone), "utf-8")
        os.utime(fresh, (at, at))
        fresh.replace(place)
        known -= gone

    def _within_quota(self, done: Tidied) -> None:
        """Over the quota, attempts' sources go first, then logs, the oldest first."""
        limit, logs = self._rule.artifacts_mb * MB, sorted(self._logs(), key=lambda f: f.mtime)
        candidates = sorted(_folders(self._run.artifacts / "candidates"), key=lambda f: f.mtime)
        total = sum(f.size for f in [*logs, *candidates])
        if total <= limit:
            return
        before, gone = total, []
        for file in [*candidates[:-KEPT_CANDIDATES], *logs]:
            if total <= 0.9 * limit:
                break
            total -= file.size
            gone.append(file)
        dropped = [f for f in gone if f.path.parent.name != "candidates"]
        self._forget(f.path for f in dropped)
        for file in gone:
            _remove(file.path)
        if dropped:
            done.dropped_before = max(f.mtime for f in dropped) + 60.0
        done.notes.append(
            f"artifacts/ held {before / MB:,.0f} MB, over its quota of {self._rule.artifacts_mb:g}: "
            f"the {len(gone) - len(dropped)} oldest candidates and {len(dropped)} oldest logs were removed"
        )

    def _workspace(self, done: Tidied) -> None:
        """Over the quota, what is not a source goes, the largest first."""
        limit = self._rule.workspace_mb * MB
        files = [f for folder, _, names in os.walk(self._run.workspace) for f in _files(Path(folder), names)]
        total = sum(f.size for f in files)
        if total <= limit:
            return
        gone, before = 0, total
        for file in sorted(files, key=lambda f: -f.size):
            if total <= 0.9 * limit:
                break
            if not (file.path.parent == self._run.workspace and is_source(file.path.name)):
                _remove(file.path)
                total, gone = total - file.size, gone + 1
        done.notes.append(
            f"workspace/ held {before / MB:,.0f} MB, over its quota of {self._rule.workspace_mb:g}: "
            f"its {gone} largest files that are no sources were removed"
        )

    def _rotate(self, *logs: Path) -> None:
        """A process's own log, too long: the old part is kept compressed, once. Its writer appends, and goes on."""
        for log in logs:
            if log.exists() and log.stat().st_size > self._rule.log_mb * MB:
                with log.open("rb") as source, gzip.open(_partial(log), "wb", 6) as packed:
                    shutil.copyfileobj(source, packed)
                _partial(log).replace(log.with_name(log.name + ".1.gz"))
                os.truncate(log, 0)

    def _cache(self, done: Tidied, end: float) -> None:
        """The build cache is every run's: the builds that were not used for longest go."""
        cache, now = default_cache(), time.time()
        for left in cache.glob("tmp-*"):
            if now - left.stat().st_mtime > CACHE_YOUNG_S:
                _remove(left)
        builds = sorted(_files(cache, [n for n in _names(cache) if n.startswith("candidate-")]), key=lambda f: f.mtime)
        total, limit = sum(f.size for f in builds), self._rule.cache_mb * MB
        if total <= limit:
            return
        for file in builds:
            if total <= 0.8 * limit or time.monotonic() >= end or now - file.mtime < CACHE_YOUNG_S:
                break
            _remove(file.path)
            total -= file.size


def _squeeze(file: _File) -> None:
    """Replace a file by its compressed twin, which has its time. Killed anywhere, one of the two is whole."""
    packed = file.path.with_name(file.path.name + ".gz")
    with file.path.open("rb") as source, gzip.open(_partial(packed), "wb", 6) as target:
        shutil.copyfileobj(source, target)
    os.utime(_partial(packed), (file.mtime, file.mtime))
    _partial(packed).replace(packed)
    file.path.unlink()


def _partial(path: Path) -> Path:
    return path.with_name(path.name + PARTIAL)


def _files(folder: Path, names: Iterable[str]) -> Iterator[_File]:
    """Plain files of one folder; one that goes meanwhile is left out."""
    for name in names:
        path = folder / name
        with contextlib.suppress(OSError):
            found = path.lstat()
            if path.is_file() and not path.is_symlink() and path.suffix not in _LIVE:
                yield _File(path, found.st_size, found.st_mtime)


def _folders(place: Path) -> Iterator[_File]:
    for name in _names(place):
        path = place / name
        with contextlib.suppress(OSError):
            if path.is_dir() and not name.startswith("."):
                yield _File(path, sum(f.size for f in _files(path, _names(path))), path.stat().st_mtime)


def _names(folder: Path) -> list[str]:
    try:
        return os.listdir(folder)  # noqa: PTH208 names are all that is wanted of thousands
    except OSError:
        return []


def _remove(path: Path) -> None:
    with contextlib.suppress(OSError):
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink()
