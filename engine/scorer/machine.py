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
