"""Files of a folder that untrusted commands write to: reached step by step, never through a link.

Each part of a path is opened relative to the one before with O_NOFOLLOW, so that no symbolic link, planted
before or swapped in meanwhile, leads outside; only plain files are read, and a write replaces, never follows.
"""

from __future__ import annotations

import contextlib
import errno
import os
import stat
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

from engine.record.errors import Refused
from engine.scorer import tree

READ_LIMIT = 4 * 1024 * 1024
WALK_LIMIT = 5000
_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


def parts_of(name: str) -> tuple[str, ...]:
    """The parts of a relative path; refuses an absolute one and one that climbs out."""
    path = PurePosixPath(name)
    if path.is_absolute() or ".." in path.parts or "\0" in name:
        raise Refused(f"{name!r} is outside the workspace; give a path relative to it")
    return path.parts


def read(root: Path, name: str, limit: int = READ_LIMIT) -> bytes:
    """The content of a plain file under `root`."""
    with _folder_of(root, name) as (folder, last):
        try:
            descriptor = os.open(last, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=folder)
        except OSError as error:
            raise _refused(name, error) from error
        found = os.fstat(descriptor)
        if not stat.S_ISREG(found.st_mode):  # before fdopen, which neither takes nor closes a folder
            os.close(descriptor)
            raise Refused(f"{name} is not a plain file" + (" but a folder" if stat.S_ISDIR(found.st_mode) else ""))
        with os.fdopen(descriptor, "rb") as file:
            if found.st_size > limit:
                raise Refused(f"{name} has {found.st_size:,} bytes, the limit is {limit:,}; look at it with `shell`")
            return file.read(limit)


def write(root: Path, name: str, data: bytes) -> bool:
    """Replace or create a file under `root`, folders included; True when it is new. It gets the root's owner."""
    with _folder_of(root, name, create=True) as (folder, last):
        existed = _kind(folder, last)
        if existed is not None and not stat.S_ISREG(existed):
            raise Refused(f"{name} is not a plain file; it is left alone")
        temporary = f".{last[:100]}.{os.getpid()}.new"
        try:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(temporary, dir_fd=folder)
            flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
            with os.fdopen(os.open(temporary, flags, 0o644, dir_fd=folder), "wb") as file:
                _adopt(file.fileno(), root)
                if existed is not None:
                    os.fchmod(file.fileno(), stat.S_IMODE(existed) & 0o777)
                file.write(data)
            os.replace(temporary, last, src_dir_fd=folder, dst_dir_fd=folder)
        except OSError as error:
            raise _refused(name, error) from error
    return existed is None


def walk(root: Path, under: str = "") -> Iterator[str]:
    """Names of plain files under `root`, sorted, hidden ones left out; stops after WALK_LIMIT."""
    top = root.joinpath(*parts_of(under))
    if under:
        with _folder_of(root, f"{under}/x"):
            pass
    count = 0
    for folder, folders, names in tree.walk(top):
        folders[:] = sorted(f for f in folders if not f.startswith("."))
        for name in sorted(n for n in names if not n.startswith(".")):
            count += 1
            if count > WALK_LIMIT:
                return
            yield str((Path(folder) / name).relative_to(root))


@contextlib.contextmanager
def _folder_of(root: Path, name: str, *, create: bool = False) -> Iterator[tuple[int, str]]:
    """The open folder that holds `name`, and its last part."""
    parts = parts_of(name)
    if not parts:
        raise Refused(f"{name!r} names no file")
    descriptor = os.open(root, _FOLDER)
    try:
        for part in parts[:-1]:
            descriptor = _enter(descriptor, part, name, root if create else None)
        yield descriptor, parts[-1]
    finally:
        os.close(descriptor)


def _enter(folder: int, part: str, name: str, create_for: Path | None) -> int:
    try:
        if create_for is not None:
            with contextlib.suppress(FileExistsError):
                os.mkdir(part, 0o755, dir_fd=folder)
                made = os.open(part, _FOLDER, dir_fd=folder)
                _adopt(made, create_for)
                os.close(made)
        inner = os.open(part, _FOLDER, dir_fd=folder)
    except OSError as error:
        raise _refused(name, error) from error
    os.close(folder)
    return inner


def _kind(folder: int, name: str) -> int | None:
    try:
        return os.stat(name, dir_fd=folder, follow_symlinks=False).st_mode
    except FileNotFoundError:
        return None


def _adopt(descriptor: int, root: Path) -> None:
    """As root, give what is written here to the workspace's owner, who must be able to change it."""
    if os.geteuid() == 0:
        owner = root.stat()
        os.fchown(descriptor, owner.st_uid, owner.st_gid)


def _refused(name: str, error: OSError) -> Refused:
    if error.errno == errno.ELOOP:
        return Refused(f"{name} is a symbolic link; links are not followed, name the file itself")
    if error.errno == errno.ENOTDIR:
        return Refused(f"{name}: a part of this path is no folder (links are not followed)")
    return Refused(f"{name}: {error.strerror}")
