"""Intake: the copy of a candidate that is hashed, built and judged. Nothing else of the candidate is ever opened again.

Regular files only, opened without following links, capped in number and size, read once: what was hashed is what is
built, whatever happens to the folder meanwhile.
"""

from __future__ import annotations

import errno
import hashlib
import os
import re
import stat
from collections.abc import Mapping
from pathlib import Path

from engine.record.frozen import dataclass
from engine.scorer.failure import fail
from engine.scorer.problem import Problem

MAX_FILES = 64
MAX_BYTES = 1 << 20
SOURCES = {"cpp": (".cpp", ".cc", ".cxx", ".c"), "cuda": (".cu", ".cpp")}
HEADERS = (".h", ".hpp", ".hh", ".inc", ".cuh")
FLAGS = "flags.txt"
NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.+-]{0,100}")
_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


@dataclass(frozen=True, slots=True)
class Candidate:
    """A candidate as it was at intake: file name to bytes, the flags it asked for, and the hash of it all."""

    files: dict[str, bytes]
    flags: tuple[str, ...]
    hash: str

    def sources(self, language: str) -> tuple[str, ...]:
        """The names to compile, sorted."""
        return tuple(sorted(n for n in self.files if n.endswith(SOURCES[language])))


def take(source: Path, problem: Problem) -> Candidate:
    """Copy a candidate (a folder, or one source file) into memory. Raises CandidateFailed, stage build."""
    try:
        names, folder = _listing(source, problem.language)
    except OSError as error:
        raise fail("build", f"{source}: {error.strerror}") from error
    try:
        files = {name: _read(folder, name) for name in names}
    finally:
        os.close(folder)
    candidate = Candidate(files, _flags(files.get(FLAGS, b""), problem), hash_of(files))
    if not candidate.sources(problem.language):
        wanted = " ".join(SOURCES[problem.language])
        raise fail("build", f"{source.name}: no source file ({wanted}) in it")
    return candidate


def _listing(source: Path, language: str) -> tuple[list[str], int]:
    """The names to read, and the folder they are in, held open: whatever takes its place later is never looked at."""
    mode = source.lstat().st_mode
    if stat.S_ISREG(mode):
        if not source.name.endswith(SOURCES[language]):
            raise fail("build", f"{source.name}: not a source file ({' '.join(SOURCES[language])})")
        return [source.name], os.open(source.parent, _FOLDER)
    if not stat.S_ISDIR(mode):
        raise fail("build", f"{source.name}: neither a folder nor a regular file; links are not followed")
    folder = os.open(source, _FOLDER)
    wanted = (*SOURCES[language], *HEADERS)
    names = sorted(
        name
        for name in os.listdir(folder)  # noqa: PTH208 by descriptor
        if name.endswith(wanted) or name == FLAGS
    )
    if len(names) > MAX_FILES:
        os.close(folder)
        raise fail("build", f"{source.name}: {len(names)} files; a candidate has at most {MAX_FILES}")
    return names, folder


def _read(folder: int, name: str) -> bytes:
    if not NAME.fullmatch(name):
        raise fail("build", f"{name!a}: a file name is letters, digits and _ . + -")
    try:
        fd = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=folder)
    except OSError as error:
        what = "is a link; candidates hold regular files only" if error.errno == errno.ELOOP else error.strerror
        raise fail("build", f"{name}: {what}") from error
    if not stat.S_ISREG(os.fstat(fd).st_mode):
        os.close(fd)
        raise fail("build", f"{name}: not a regular file; candidates hold regular files only")
    with os.fdopen(fd, "rb") as file:
        data = file.read(MAX_BYTES + 1)
    if len(data) > MAX_BYTES:
        raise fail("build", f"{name}: larger than {MAX_BYTES >> 10} KiB")
    return data


def _flags(text: bytes, problem: Problem) -> tuple[str, ...]:
    lines = text.decode("utf-8", "replace").splitlines()
    flags = tuple(word for line in lines for word in line.split("#")[0].split())
    if bad := [f for f in flags if f not in problem.build.allowed]:
        raise fail(
            "build", f"{FLAGS}: {bad[0][:80]!r} is not an allowed flag; allowed: {' '.join(problem.build.allowed)}"
        )
    return flags


def hash_of(files: Mapping[str, bytes]) -> str:
    """SHA-256 over names and contents, in the order of names."""
    digest = hashlib.sha256()
    for name in sorted(files):
        digest.update(f"{name}\0{len(files[name])}\0".encode() + files[name])
    return digest.hexdigest()
