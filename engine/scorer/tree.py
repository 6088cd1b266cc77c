"""Walking a folder that untrusted commands write to. Standard library only.

One rule: no shape of the tree stops the walk. os.walk and rglob call themselves for every level, and a shell makes
folders deeper than Python's stack in a second; what cannot be opened, or is too deep for a path, is left out.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


def walk(root: Path | str) -> Iterator[tuple[str, list[str], list[str]]]:
    """Every folder below `root`, itself included, with the names of its folders and of everything else in it.

    Like os.walk from the top: take names out of the folders and they are not entered. Links are never followed.
    """
    waiting = [os.fspath(root)]
    while waiting:
        folder = waiting.pop()
        folders: list[str] = []
        names: list[str] = []
        try:
            with os.scandir(folder) as found:
                for entry in found:
                    (folders if entry.is_dir(follow_symlinks=False) else names).append(entry.name)
        except OSError:
            continue
        yield folder, folders, names
        waiting.extend(os.path.join(folder, name) for name in reversed(folders))  # noqa: PTH118 thousands of them


def unlink(root: Path | str, path: str) -> None:
    """Remove a file that a walk of `root` gave, unless a folder on the way to it has become a link since."""
    *folders, name = os.path.relpath(path, root).split("/")
    at = os.open(root, _FOLDER)
    try:
        for part in folders:
            inner = os.open(part, _FOLDER, dir_fd=at)
            os.close(at)
            at = inner
        os.unlink(name, dir_fd=at)
    finally:
        os.close(at)


def remove(path: Path) -> None:
    """Remove a file, a link or a folder with all that is in it, however deep. No link is followed on the way."""
    if not path.is_dir() or path.is_symlink():
        path.unlink()
        return
    try:
        shutil.rmtree(path)
    except RecursionError:
        _level(path)


def _level(path: Path) -> None:
    """Remove a tree deeper than the stack: every folder is moved up to one level before it is emptied."""
    place = tempfile.mkdtemp(prefix=".removed-", dir=path.parent)
    level = os.open(place, _FOLDER)
    try:
        os.rename(path, "0", dst_dir_fd=level)
        waiting, number = ["0"], 0
        while waiting:
            name = waiting.pop()
            inner = os.open(name, _FOLDER, dir_fd=level)
            try:
                with os.scandir(inner) as found:
                    entries = [(entry.name, entry.is_dir(follow_symlinks=False)) for entry in found]
                for entry, is_folder in entries:
                    if is_folder:
                        number += 1
                        os.rename(entry, str(number), src_dir_fd=inner, dst_dir_fd=level)
                        waiting.append(str(number))
                    else:
                        os.unlink(entry, dir_fd=inner)
            finally:
                os.close(inner)
            os.rmdir(name, dir_fd=level)
    finally:
        os.close(level)
    os.rmdir(place)  # noqa: PTH106
