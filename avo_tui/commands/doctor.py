"""`avo doctor`: what this machine can do, what is missing, and the command that mends it. One screen."""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
import sys
from argparse import Namespace
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from importlib import metadata
from pathlib import Path
from typing import Any, Literal

from avo_tui.commands.named import print_json, shipped_problems
from avo_tui.commands.start import default_operator, has_key, no_room
from avo_tui.launch import compiler, nvcc
from avo_tui.scoring import ask
from avo_tui.tables import one_line
from engine import __version__
from engine.record.errors import ScorerError
from engine.record.run import list_runs, runs_directory

PACKAGES = ("textual", "torch", "anthropic", "gitpython", "watchfiles")
FREE_GB = 2.0


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing looked at. `mend` is the command or the step that puts it right, or ""."""

    what: str
    state: Literal["ok", "note", "missing"]
    found: str
    mend: str = ""


def doctor(arguments: Namespace) -> int:
    """Print every finding; exit code 1 when something that every run needs is missing."""
    findings = list(examine(arguments.runs))
    if arguments.json:
        print_json({"version": __version__, "findings": [asdict(f) for f in findings]})
    else:
        print(f"avo {__version__} on {platform.node()}")
        for f in findings:
            mark = {"ok": "ok", "note": "--", "missing": "MISSING"}[f.state]
            print(f"  {mark:<8} {f.what:<11} {f.found}" + (f"\n{'':<22} -> {f.mend}" if f.mend else ""))
    return 1 if any(f.state == "missing" for f in findings) else 0


def examine(runs: str | None) -> Iterator[Finding]:
    """Every finding, the essential ones first."""
    yield _python()
    yield from _packages()
    yield _compiler()
    yield _git()
    yield _machine()
    yield from _scorer()
    yield _gpu()
    yield _key()
    yield _runs(runs)
    yield _terminal()
    yield Finding("problems", "ok", ", ".join(shipped_problems()) or "none shipped")


def _python() -> Finding:
    return Finding("python", "ok", f"{platform.python_version()} at {sys.executable}")


def _packages() -> Iterator[Finding]:
    there, lacking = [], []
    for name in PACKAGES:
        try:
            there.append(f"{name} {metadata.version(name)}")
        except metadata.PackageNotFoundError:
            lacking.append(name)
    yield Finding("packages", "ok" if there else "note", ", ".join(there))
    if lacking:
        yield Finding("packages", "missing", ", ".join(lacking), f"pip install {' '.join(lacking)}")


def _compiler() -> Finding:
    path = compiler()
    if path is None:
        return Finding("compiler", "missing", "no c++, g++ or clang++", "apt install g++ (or set CXX)")
    return Finding("compiler", "ok", f"{_first_line(path, '--version')} at {path}")


def _git() -> Finding:
    path = shutil.which("git")
    if path is None:
        return Finding("git", "missing", "not found", "apt install git")
    return Finding("git", "ok", _first_line(path, "--version"))


def _machine() -> Finding:
    cores = len(os.sched_getaffinity(0))
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    load = os.getloadavg()[0]
    busy = f", load {load:.1f}: timings will be noisy" if load > 0.5 * cores else f", load {load:.1f}"
    return Finding("processor", "ok", f"{_model()}, {cores} cores, {memory:.0f} GiB{busy}")


def _model() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text("utf-8", "replace").splitlines()
    except OSError:
        return platform.machine()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), platform.machine())


def _scorer() -> Iterator[Finding]:
    """What the scorer itself says: the device that it measures on, and how well it can confine a candidate."""
    try:
        probe = ask("probe", {})
    except ScorerError as error:
        yield Finding("scorer", "missing", one_line(str(error), 140), "'avo doctor' again once that is mended")
        return
    yield Finding("scorer", "ok", f"{probe.get('device') or 'no device'}")
    sandbox: dict[str, Any] = probe.get("sandbox") or {}
    tier = str(sandbox.get("tier") or "none")
    mend = "apt install bubblewrap, or a kernel with Landlock; until then runs need --unsafe-no-sandbox"
    yield Finding("sandbox", "note", "none", mend) if tier == "none" else Finding("sandbox", "ok", tier)


def _gpu() -> Finding:
    smi = shutil.which("nvidia-smi")
    if smi is None:
        return Finding("gpu", "note", "no NVIDIA driver here; the CPU problems run, the CUDA ones do not")
    found = _first_line(smi, "--query-gpu=name,memory.total,driver_version", "--format=csv,noheader")
    if nvcc() is None:
        return Finding("gpu", "note", f"{found}; no nvcc", "install the CUDA toolkit and put its bin folder on PATH")
    return Finding("gpu", "ok", found)


def _key() -> Finding:
    if has_key():
        return Finding("model key", "ok", f"set; 'avo run' takes the {default_operator()} by default")
    return Finding(
        "model key", "note", "none: the playbook works without", "export ANTHROPIC_API_KEY=... for the agent"
    )


def _runs(given: str | None) -> Finding:
    directory = runs_directory(given)
    there = directory
    while not there.exists():
        there = there.parent
    if not os.access(there, os.W_OK):
        return Finding(
            "runs", "missing", f"{directory} cannot be written", "name another place with --runs or AVO_RUNS"
        )
    free = shutil.disk_usage(there).free / 2**30
    found = f"{len(list_runs(directory))} in {directory}, {free:.0f} GiB free"
    if free < FREE_GB:
        return Finding("runs", "note", found, f"free some disk space: less than {FREE_GB:.0f} GiB are left")
    return Finding("runs", "ok", found)


def _terminal() -> Finding:
    if reason := no_room():
        return Finding("terminal", "note", reason, "use --headless or --plain, or another terminal")
    size = shutil.get_terminal_size()
    small = size.columns < 80 or size.lines < 24
    found = f"{os.environ.get('TERM')} {size.columns}x{size.lines}"
    return Finding("terminal", "note" if small else "ok", found, "80x24 or more shows every pane" if small else "")


def _first_line(*command: str) -> str:
    try:
        done = subprocess.run(command, capture_output=True, text=True, errors="replace", timeout=20, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        return f"does not answer ({type(error).__name__})"
    lines = (done.stdout or done.stderr).strip().splitlines()
    return one_line(lines[0], 90) if lines else f"ended with code {done.returncode}"
