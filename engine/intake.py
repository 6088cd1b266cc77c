"""Intake: the candidate's files, copied out of the workspace once and named by their hash.

One rule: what is scored, judged and committed is the copy, so nothing can change it in between.
"""

from __future__ import annotations

import os
import re
import shutil
import stat
import tempfile
from collections.abc import Mapping
from pathlib import Path, PurePosixPath

from engine.record.errors import Refused
from engine.record.frozen import dataclass
from engine.scorer import intake as judged
from engine.scorer import tree

SUFFIXES = frozenset({".cpp", ".cc", ".cxx", ".c", ".h", ".hpp", ".hh", ".inc", ".cu", ".cuh"})
NAMES = frozenset({"flags.txt"})
FILES_LIMIT = 64
BYTES_LIMIT = 1024 * 1024
UNFINISHED = ".new-"
hash_of = judged.hash_of  # the same sources have one name here and where they are judged
_WRITING = re.compile(r"\..+\.\d+\.new")


@dataclass(frozen=True, slots=True)
class Candidate:
    """Sources under test. `folder` is the engine's own copy of `files`."""

    files: Mapping[str, bytes]
    source_hash: str
    folder: Path


def sweep(*folders: Path) -> None:
    """Remove what a killed engine left half written: here, and in the tools' own writes (engine/tools/confined.py)."""
    for folder in folders:
        for place, _, names in list(tree.walk(folder)):
            for name in names:
                path = Path(place, name)
                if _WRITING.fullmatch(name) and not path.is_symlink():
                    path.unlink()
        for path in folder.glob(f"{UNFINISHED}*"):
            tree.remove(path)


def is_source(name: str) -> bool:
    """Whether a file of the workspace belongs to the candidate."""
    return not name.startswith(".") and (name in NAMES or Path(name).suffix in SUFFIXES)


def holds_sources(workspace: Path) -> bool:
    """Whether anything that could be a source lies there."""
    return workspace.is_dir() and any(is_source(p.name) for p in workspace.iterdir())


def read_sources(workspace: Path) -> dict[str, bytes]:
    """The candidate's files at the top of a folder. Links and special files are refused, not followed."""
    try:
        names = sorted(p.name for p in workspace.iterdir() if is_source(p.name))
    except OSError as error:
        raise Refused(f"{workspace}: {error.strerror}; 'lineage restore best' brings the sources back") from error
    if not any(n not in NAMES for n in names):
        raise Refused(f"the workspace holds no sources ({', '.join(sorted(SUFFIXES))}); write the kernel first")
    if len(names) > FILES_LIMIT:
        raise Refused(f"the workspace holds {len(names)} source files, the limit is {FILES_LIMIT}")
    if bad := next((n for n in names if not judged.NAME.fullmatch(n)), None):
        raise Refused(f"{bad!a} is no name of a source file: use letters, digits and _ . + -")
    return {name: _read(workspace / name) for name in names}


def _read(path: Path) -> bytes:
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        raise Refused(f"{path.name} cannot be read as a source file: {error.strerror}") from error
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise Refused(f"{path.name} is not a regular file; sources are plain files")
    with os.fdopen(descriptor, "rb") as file:
        data = file.read(BYTES_LIMIT + 1)
    if len(data) > BYTES_LIMIT:
        raise Refused(f"{path.name} is over {BYTES_LIMIT:,} bytes; split it")
    return data


def store(files: Mapping[str, bytes], candidates: Path) -> Candidate:
    """Keep files under their hash; the same files are kept once."""
    source_hash = hash_of(files)
    folder = candidates / source_hash[:24]
    if not folder.is_dir():
        candidates.mkdir(parents=True, exist_ok=True)
        fresh = Path(tempfile.mkdtemp(prefix=UNFINISHED, dir=candidates))
        fresh.chmod(0o755)
        write(files, fresh)
        try:
            fresh.rename(folder)
        except OSError:
            shutil.rmtree(fresh, ignore_errors=True)
            if not folder.is_dir():
                raise
    return Candidate(dict(files), source_hash, folder)


def take(workspace: Path, candidates: Path) -> Candidate:
    """The workspace's sources, copied. Raises Refused when there are none that can be taken."""
    return store(read_sources(workspace), candidates)


def inside(workspace: Path, folder: str) -> Path:
    """A folder of the workspace; refuses one that leads out of it, by its name or through a link."""
    parts = PurePosixPath(folder).parts
    steps = [workspace.joinpath(*parts[: n + 1]) for n in range(len(parts))]
    if not parts or folder.startswith("/") or ".." in parts or any(s.is_symlink() for s in steps):
        raise Refused(f"{folder!r} is no folder inside the workspace; name one such as 'variants/a'")
    if not steps[-1].is_dir():
        raise Refused(f"the workspace has no folder {folder!r}; write each variant's sources into a folder of its own")
    return steps[-1]


def write(files: Mapping[str, bytes], folder: Path) -> None:
    """Write sources into a folder that holds none."""
    for name, data in files.items():
        (folder / name).write_bytes(data)


def replace(files: Mapping[str, bytes], workspace: Path) -> None:
    """Make the workspace hold exactly these sources; whatever else lies there stays.

    Each file is written beside its place and renamed, so that a link in the workspace is never written through.
    """
    workspace.mkdir(parents=True, exist_ok=True)
    owner = workspace.stat()
    for path in list(workspace.iterdir()):
        if is_source(path.name) and path.name not in files:
            tree.remove(path)
    for name, data in files.items():
        _place(workspace / name, data, owner.st_uid, owner.st_gid)


def _place(path: Path, data: bytes, uid: int, gid: int) -> None:
    descriptor, fresh = tempfile.mkstemp(prefix=UNFINISHED, dir=path.parent)
    with os.fdopen(descriptor, "wb") as file:
        file.write(data)
        os.fchmod(descriptor, 0o644)
        if os.geteuid() == 0:
            os.fchown(descriptor, uid, gid)
    if path.is_dir() and not path.is_symlink():
        tree.remove(path)
    Path(fresh).replace(path)
