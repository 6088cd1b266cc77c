"""What this kernel offers to confine a candidate with, read without trying it out (the scorer's probes do that).

One rule: everything here only looks.
"""

from __future__ import annotations

import ctypes
import os
import shutil
from pathlib import Path

from engine.record.frozen import dataclass

_LANDLOCK_CREATE_RULESET, _ASK_VERSION = 444, 1
_APPARMOR = Path("/proc/sys/kernel/apparmor_restrict_unprivileged_userns")
_CLONE = Path("/proc/sys/kernel/unprivileged_userns_clone")
_NAMESPACES = Path("/proc/sys/user/max_user_namespaces")
_SECCOMP = Path("/proc/sys/kernel/seccomp/actions_avail")
_GROUPS = Path("/sys/fs/cgroup")


@dataclass(frozen=True, slots=True)
class Belt:
    """One means of confinement: whether it is there, and what brings it when it is not."""

    name: str
    there: bool
    mend: str = ""


def belts() -> tuple[Belt, ...]:
    """Every means that the sandbox's tiers are made of, the first tier's first."""
    return (
        Belt("bubblewrap", shutil.which("bwrap") is not None, "apt install bubblewrap"),
        _namespaces(),
        Belt(*_landlock()),
        Belt("seccomp", _SECCOMP.exists(), "a kernel with CONFIG_SECCOMP_FILTER"),
    )


def _namespaces() -> Belt:
    name = "user namespaces"
    if os.geteuid() == 0:
        return Belt(name, _number(_NAMESPACES, 1) > 0, "sysctl user.max_user_namespaces=10000")
    if _number(_CLONE, 1) == 0:
        return Belt(name, False, "sudo sysctl kernel.unprivileged_userns_clone=1")
    if _number(_APPARMOR, 0) == 1:
        return Belt(name, False, "sudo sysctl kernel.apparmor_restrict_unprivileged_userns=0")
    return Belt(name, _number(_NAMESPACES, 1) > 0, "sudo sysctl user.max_user_namespaces=10000")


def _landlock() -> tuple[str, bool, str]:
    """Asked for its version (landlock_create_ruleset(2)); 444 is its number on every architecture."""
    version = ctypes.CDLL(None, use_errno=True).syscall(_LANDLOCK_CREATE_RULESET, None, 0, _ASK_VERSION)
    if version < 1:
        return "Landlock", False, "a kernel of 5.13 or newer, with landlock among the lsm= of its command line"
    return f"Landlock {version}", True, ""


def groups() -> str:
    """Which control groups can be made here for caps on memory and processes: "v2", "v1" or ""."""
    if (_GROUPS / "cgroup.subtree_control").exists():
        given = set(_text(_GROUPS / "cgroup.subtree_control").split())
        return "v2" if {"memory", "pids"} <= given and os.access(_GROUPS, os.W_OK) else ""
    return "v1" if all(os.access(_GROUPS / c, os.W_OK) for c in ("memory", "pids")) else ""


def _number(path: Path, otherwise: int) -> int:
    text = _text(path).strip()
    return int(text) if text.lstrip("-").isdecimal() else otherwise


def _text(path: Path) -> str:
    try:
        return path.read_text("utf-8", "replace")
    except OSError:
        return ""
