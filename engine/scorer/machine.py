"""Facts of this machine: its processor, caches and threads. Read from the system, never guessed; None when unknown."""

from __future__ import annotations

import os
from functools import cache
from pathlib import Path


@cache
def cpu() -> dict[str, str]:
    """The first processor's entry of /proc/cpuinfo."""
    try:
        text = Path("/proc/cpuinfo").read_text("utf-8", "replace")
    except OSError:
        return {}
    pairs = (line.partition(":") for line in text.split("\n\n")[0].splitlines())
    return {key.strip(): value.strip() for key, _, value in pairs}


def threads() -> int:
    """Processors that this process may use."""
    return len(os.sched_getaffinity(0))


def has_quota(root: Path = Path("/sys/fs/cgroup"), own: Path = Path("/proc/self/cgroup")) -> bool:
    """Whether a cgroup limits the processor time of this process (cpu.max, or cpu.cfs_quota_us of version 1)."""
    try:
        groups = [line.split(":", 2) for line in own.read_text().splitlines()]
    except OSError:
        return False
    for number, controllers, path in groups:
        if number != "0" and "cpu" not in controllers.split(","):
            continue
        base, file = (root, "cpu.max") if number == "0" else (root / controllers, "cpu.cfs_quota_us")
        folder = base / path.lstrip("/")
        for group in (folder, *folder.parents):
            if not group.is_relative_to(base):
                break
            try:
                quota = (group / file).read_text().split()[0]
            except (OSError, IndexError):
                continue
            if quota not in ("max", "-1"):
                return True
    return False


def device(count: int) -> str:
    """One line that names the device, for a Score."""
    name = cpu().get("model name") or os.uname().machine
    return f"{name}, {count} thread{'s' if count != 1 else ''}"


def cache_kb(level: int) -> int | None:
    """Size of one data cache of this level, in KiB."""
    root = Path("/sys/devices/system/cpu/cpu0/cache")
    for index in sorted(root.glob("index*")):
        try:
            if int((index / "level").read_text()) != level or (index / "type").read_text().strip() == "Instruction":
                continue
            return int((index / "size").read_text().strip().rstrip("K"))
        except (OSError, ValueError):
            continue
    return None


def has(flag: str) -> bool:
    """Whether the processor names this feature flag."""
    return flag in cpu().get("flags", "").split()
