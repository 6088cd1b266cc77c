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
from engine.scorer import tree
from engine.scorer.toolchain import default_cache

MB = 1_000_000
BUDGET_S, END_S = 0.5, 5.0
LATE_S = 10.0  # with work left over, the next round comes so soon
SMALL_BYTES = 4096  # a smaller file takes one block anyway
BATCH = 256
FIRST_S = 10.0
SETTLED_S = 5.0  # a log younger than this may still be written
KEPT_CANDIDATES = 64
KEPT_EPOCHS = 2
CACHE_YOUNG_S = 3600.0
PARTIAL = ".part"
CANDIDATES = "candidates"
_LIVE = (".pid", ".sock", ".lock", PARTIAL)


@dataclass(slots=True)
class Tidied:
    """What one round did: sentences for the journal, and the time before which logs may be gone (None: no change)."""

    notes: list[str] = field(default_factory=list)
    compressed: int = 0
    dropped_before: float | None = None


@dataclass(frozen=True, slots=True)
class _File:
    path: str
    size: int
    mtime: float


class Housekeeper:
    """One run's. `tidy` touches no database and may run in a thread. The artifacts are walked once a round."""

    def __init__(self, run: RunFolder, rule: Housekeeping) -> None:
        self._run, self._rule = run, rule
        self._root = str(run.artifacts)
        self._next = time.monotonic() + FIRST_S  # an engine that resumes has better things to do
        self._known: set[str] | None = None
        self._sizes: dict[str, int] = {}

    def due(self) -> bool:
        """Whether a round should be made at this boundary."""
        return time.monotonic() >= self._next

    def tidy(self, *, everything: bool = False) -> Tidied:
        """One round. `everything`: the run ends, and nobody waits for the next turn."""
        done = Tidied()
        with contextlib.suppress(OSError):  # a full or read-only disk is said by whoever has to write
            logs = list(self._logs())
            end = time.monotonic() + (END_S if everything else BUDGET_S)
            logs = self._compress(logs, done, end)
            self._write_sums(logs, end, settled_s=0.0 if everything else SETTLED_S)
            self._within_quota(logs, done, end)
            self._workspace(done)
            self._rotate(self._run.engine_log, self._run.artifacts / "scorer.log")
            self._cache(end)
            self._next = time.monotonic() + (LATE_S if time.monotonic() >= end else self._rule.every_s)
            return done
        self._next = time.monotonic() + self._rule.every_s
        return done

    def _logs(self) -> Iterator[_File]:
        """Every log under artifacts/, any age."""
        for entry in _entries(self._root):
            if entry.is_dir(follow_symlinks=False) and entry.name != CANDIDATES:
                yield from _walk(entry.path)

    def _compress(self, logs: list[_File], done: Tidied, end: float) -> list[_File]:
        """Compress what is old; the logs as they lie now."""
        old = time.time() - 60 * self._rule.compress_after_minutes
        plain = [f for f in logs if f.mtime < old and f.size > SMALL_BYTES and not f.path.endswith(".gz")]
        batch = [*sorted(plain, key=lambda f: f.mtime), *self._epochs(old)][:BATCH]
        self._forget(f.path for f in batch)  # first: a file without its hash is not wrong, a hash without its file is
        became: dict[str, _File] = {}
        for file in batch:
            if time.monotonic() >= end:
                break
            became[file.path] = _squeeze(file)
        done.compressed = len(became)
        return [became.get(f.path, f) for f in logs]

    def _epochs(self, old: float) -> list[_File]:
        """The agent's conversations that no resume reads any more."""
        found = [f for f in _plain(str(self._run.path / "agent")) if f.path.endswith(".jsonl")]
        return [f for f in sorted(found, key=lambda f: f.mtime)[:-KEPT_EPOCHS] if f.mtime < old]

    def _write_sums(self, logs: list[_File], end: float, settled_s: float) -> None:
        """Append the hash of each log that is new or was written again (`sha256sum -c` reads the same file)."""
        place, now = self._run.artifacts / SUMS, time.time()
        known = self._sums()
        since = place.stat().st_mtime if place.exists() else 0.0
        settled = [f for f in logs if now - f.mtime >= settled_s and "\n" not in f.path]
        fresh = [f for f in settled if self._name(f.path) not in known or f.mtime > since]
        self._forget(f.path for f in fresh)
        lines = []
        for file in fresh:
            if time.monotonic() >= end:
                break
            with contextlib.suppress(FileNotFoundError), open(file.path, "rb") as opened:  # noqa: PTH123 thousands
                lines.append(f"{hashlib.file_digest(opened, 'sha256').hexdigest()}  {self._name(file.path)}\n")
                known.add(self._name(file.path))
        if lines:
            with place.open("a", encoding="utf-8") as sums:
                sums.writelines(lines)
            os.utime(place, (now, now))

    def _name(self, path: str) -> str:
        """A file's path under artifacts/; "" for one that lies elsewhere."""
        return path[len(self._root) + 1 :] if path.startswith(self._root + "/") else ""

    def _sums(self) -> set[str]:
        if self._known is None:
            place = self._run.artifacts / SUMS
            text = place.read_text("utf-8", "replace") if place.exists() else ""
            self._known = {line[66:] for line in text.splitlines() if len(line) > 66}
        return self._known

    def _forget(self, paths: Iterable[str]) -> None:
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

    def _candidates(self) -> Iterator[_File]:
        """Attempts' sources. A folder's content never changes, so each is measured once."""
        for entry in _entries(str(self._run.artifacts / CANDIDATES)):
            if entry.is_dir(follow_symlinks=False) and not entry.name.startswith("."):
                if entry.name not in self._sizes:
                    self._sizes[entry.name] = sum(f.size for f in _plain(entry.path))
                yield _File(entry.path, self._sizes[entry.name], entry.stat().st_mtime)

    def _within_quota(self, logs: list[_File], done: Tidied, end: float) -> None:
        """Over the quota, attempts' sources go first, then logs, the oldest first."""
        limit = self._rule.artifacts_mb * MB
        before = total = sum(f.size for f in logs) + sum(f.size for f in self._candidates())
        if total <= limit:
            return
        sources = sorted(self._candidates(), key=lambda f: f.mtime)[:-KEPT_CANDIDATES]
        removed = self._remove_until(sources, total - 0.9 * limit, end)
        total -= sum(f.size for f in removed)
        dropped = self._drop_logs(logs, total - 0.9 * limit, end) if len(removed) == len(sources) else []
        if dropped:
            done.dropped_before = max(f.mtime for f in dropped) + 60.0
        if removed or dropped:
            done.notes.append(
                f"artifacts/ held {before / MB:,.0f} MB, over its quota of {self._rule.artifacts_mb:g}: "
                f"the {len(removed)} oldest candidates and {len(dropped)} oldest logs were removed"
            )

    def _drop_logs(self, logs: list[_File], size: float, end: float) -> list[_File]:
        chosen: list[_File] = []
        for file in sorted(logs, key=lambda f: f.mtime):
            if size <= 0 or len(chosen) >= BATCH:
                break
            size -= file.size
            chosen.append(file)
        self._forget(f.path for f in chosen)
        return self._remove_until(chosen, float("inf"), end)

    def _remove_until(self, files: list[_File], size: float, end: float) -> list[_File]:
        """Remove files, in this order, until so many bytes are gone or the time is up; which."""
        gone = []
        for file in files:
            if size <= 0 or time.monotonic() >= end:
                break
            _remove(file.path)
            size -= file.size
            gone.append(file)
        return gone

    def _workspace(self, done: Tidied) -> None:
        """Over the quota, what is not a source goes, the largest first."""
        limit, top = self._rule.workspace_mb * MB, str(self._run.workspace)
        files = list(_walk(top))
        before = total = sum(f.size for f in files)
        if total <= limit:
            return
        gone = 0
        for file in sorted(files, key=lambda f: -f.size):
            if total <= 0.9 * limit:
                break
            folder, _, name = file.path.rpartition("/")
            if not (folder == top and is_source(name)):
                with contextlib.suppress(OSError):  # a command that runs now may put a link in a folder's place
                    tree.unlink(top, file.path)
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

    def _cache(self, end: float) -> None:
        """The build cache is every run's: the builds that were made longest ago go."""
        cache, now = str(default_cache()), time.time()
        begun = [e for e in _entries(cache) if e.name.startswith("tmp-")]
        for entry in begun:
            if now - entry.stat(follow_symlinks=False).st_mtime > CACHE_YOUNG_S:
                _remove(entry.path)
        builds = [f for f in _plain(cache) if f.path[len(cache) + 1 :].startswith("candidate-")]
        total, limit = sum(f.size for f in builds), self._rule.cache_mb * MB
        if total > limit:
            old = [f for f in sorted(builds, key=lambda f: f.mtime) if now - f.mtime > CACHE_YOUNG_S]
            self._remove_until(old, total - 0.8 * limit, end)


def _squeeze(file: _File) -> _File:
    """Replace a file by its compressed twin, which has its time. Killed anywhere, one of the two is whole."""
    path = Path(file.path)
    packed = path.with_name(path.name + ".gz")
    with path.open("rb") as source, gzip.open(_partial(packed), "wb", 6) as target:
        shutil.copyfileobj(source, target)
    os.utime(_partial(packed), (file.mtime, file.mtime))
    _partial(packed).replace(packed)
    path.unlink()
    return _File(str(packed), packed.stat().st_size, file.mtime)


def _partial(path: Path) -> Path:
    return path.with_name(path.name + PARTIAL)


def _entries(folder: str) -> Iterator[os.DirEntry[str]]:
    """A folder's entries, one at a time: ten thousand of them with what stat(2) says took 10 MB."""
    with contextlib.suppress(OSError), os.scandir(folder) as found:
        yield from found


def _plain(folder: str) -> Iterator[_File]:
    """Plain files of one folder; one that goes meanwhile is left out."""
    for entry in _entries(folder):
        if (file := _file(entry)) is not None:
            yield file


def _file(entry: os.DirEntry[str]) -> _File | None:
    """A plain file that nobody works with."""
    with contextlib.suppress(OSError):
        if entry.is_file(follow_symlinks=False) and not entry.name.endswith(_LIVE):
            found = entry.stat(follow_symlinks=False)
            return _File(entry.path, found.st_size, found.st_mtime)
    return None


def _walk(folder: str) -> Iterator[_File]:
    """Plain files of a folder and of those in it; links are not followed."""
    waiting = [folder]  # no recursion: a shell makes folders deeper than Python's stack
    while waiting:
        for entry in _entries(waiting.pop()):
            if entry.is_dir(follow_symlinks=False):
                waiting.append(entry.path)
            elif (file := _file(entry)) is not None:
                yield file


def _remove(path: str) -> None:
    with contextlib.suppress(OSError):
        if Path(path).is_dir() and not Path(path).is_symlink():
            shutil.rmtree(path)
        else:
            os.unlink(path)  # noqa: PTH108 thousands of them
