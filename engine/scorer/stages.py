"""Paths that an unprivileged uid cannot reach, such as a run below root's home, and the places they are bound to.

One rule: only root stages, only in a mount namespace of the one process that is started, and only what was named.
"""

from __future__ import annotations

import os
import stat
from pathlib import Path

from engine.record.errors import Refused
from engine.scorer.confined import Job

MOST = 8
# Where the engine's own code lies: out of every sandbox's sight, wherever it was installed.
PACKAGE = Path(__file__).resolve().parents[1]


def reachable(job: Job, cache: Path, launcher: Path) -> tuple[dict[Path, Path], list[str]]:
    """Where each path of a job is to be named from, and the launcher's options that bind it there.

    Raises Refused when a path cannot be reached and this process may not bind it.
    """
    moved: dict[Path, Path] = {}
    options: list[str] = []
    wanted = [launcher, *(outside for outside, _ in (*job.readable, *job.writable))]
    for path in dict.fromkeys(wanted):
        moved[path] = path
        if job.uid is not None and not _open_to_all(path):
            moved[path] = _stage(path, cache, len(options) // 3)
            options += ["--stage", str(path), str(moved[path])]
    return moved, options


def _stage(path: Path, cache: Path, index: int) -> Path:
    if index >= MOST or not _open_to_all(cache) or not _may_mount():
        raise Refused(
            f"{path}: an unprivileged user cannot reach it, and a sandbox never runs as root; "
            "move it (AVO_RUNS, AVO_CACHE) to a place such as /var/lib/avo"
        )
    place = cache / ("stages" if path.is_dir() else "stages-files") / str(index)
    place.parent.mkdir(mode=0o755, exist_ok=True)
    if path.is_dir():
        place.mkdir(mode=0o755, exist_ok=True)
    else:
        place.touch(mode=0o644, exist_ok=True)
    return place


def _open_to_all(path: Path) -> bool:
    """Whether every folder above (and the path itself, when a folder) lets everybody pass."""
    checked = [*path.parents, path] if path.is_dir() else list(path.parents)
    return all(p.stat().st_mode & stat.S_IXOTH for p in checked)


def _may_mount() -> bool:
    """CAP_SYS_ADMIN, the right to make a mount namespace (bit 21)."""
    line = next(ln for ln in Path("/proc/self/status").read_text().splitlines() if ln.startswith("CapEff"))
    return os.geteuid() == 0 and bool(int(line.split()[1], 16) >> 21 & 1)
