"""What is to be run in a sandbox, and the command line that runs it there. Plain values, no decisions."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from engine.record.frozen import dataclass


@dataclass(frozen=True, slots=True)
class Limits:
    """Resource limits of everything inside; None leaves one alone. Bytes, seconds, counts."""

    address_space: int | None = None
    file_bytes: int | None = None
    processes: int | None = None
    open_files: int | None = None
    cpu_s: int | None = None

    def options(self) -> list[str]:
        """As options of confine.c."""
        values = {
            "as": self.address_space,
            "fsize": self.file_bytes,
            "nproc": self.processes,
            "nofile": self.open_files,
            "cpu": self.cpu_s,
            "core": 0,
        }
        return [part for name, value in values.items() if value is not None for part in ("--limit", f"{name}={value}")]


@dataclass(frozen=True, slots=True)
class Job:
    """A program to confine. Paths come as (outside, inside); the tier without its own file system needs them equal.

    `system` shows /usr and what a shell needs of /etc and /dev; without it only shared libraries are there.
    `filtered` asks for the deny-list of confine.c.
    """

    argv: tuple[str, ...]
    env: Mapping[str, str]
    uid: int | None
    limits: Limits
    directory: Path
    outside_directory: Path
    writable: tuple[tuple[Path, Path], ...] = ()
    readable: tuple[tuple[Path, Path], ...] = ()
    system: bool = True
    network: bool = False
    filtered: bool = True
    worker: bool = False
    bare: bool = False
    """Without a `uid` to become: our own, stripped of every capability; the second tier only."""
    devices: tuple[str, ...] = ()
    """Device files that may be opened and controlled; the second tier only."""
    pass_fds: tuple[int, ...] = ()
    info_fd: int | None = None
    """Where a bubblewrap that stands between writes the program's pid, as JSON."""


@dataclass(frozen=True, slots=True)
class Confined:
    """Ready for subprocess.Popen(argv, env=env, pass_fds=pass_fds, cwd=cwd, start_new_session=True)."""

    argv: list[str]
    env: dict[str, str]
    pass_fds: tuple[int, ...]
    cwd: str = "/"
    nested: bool = False
    """Whether the program is a grandchild: a bubblewrap stands between."""
