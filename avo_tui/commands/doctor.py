"""`avo doctor`: what this machine can do, what is missing, and the command that mends it. One screen."""

from __future__ import annotations

import os
import platform
import re
import shutil
import subprocess
import sys
from argparse import Namespace
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, field
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path
from textwrap import wrap
from typing import Any, Literal

from avo_tui.commands.named import print_json, problem_of, shipped_problems, verdict
from avo_tui.commands.start import default_operator, has_key, no_room
from avo_tui.confinement import belts, groups
from avo_tui.launch import compiler, nvcc
from avo_tui.scoring import ask
from avo_tui.tables import one_line
from avo_tui.terminal import probe
from engine import __version__
from engine.record.errors import ScorerError
from engine.record.frozen import dataclass
from engine.record.run import list_runs, runs_directory

EXTRAS = {"mcp": "mcp", "ray": "ray", "pdf": "pypdf", "report": "PIL", "serve": "textual_serve"}
COLOURS = {"truecolor": "16 million colours", "256": "256 colours", "16": "16 colours", "mono": "no colours"}
PACKAGES = ("torch", "textual", "anthropic", "gitpython", "watchfiles")
FREE_GB = 2.0
WIDE = 80


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing looked at. `mend` is the command or the step that puts it right, or ""; `parts` what it is made of."""

    what: str
    state: Literal["ok", "note", "missing"]
    found: str
    mend: str = ""
    parts: Mapping[str, bool] = field(default_factory=dict)


def doctor(arguments: Namespace) -> int:
    """Print every finding; exit code 1 when something that every run needs is missing."""
    findings = list(examine(arguments.runs))
    with verdict():
        if arguments.json:
            print_json({"version": __version__, "able": able(findings), "findings": [asdict(f) for f in findings]})
        else:
            print("\n".join(_lines(findings)))
    return 1 if any(f.state == "missing" for f in findings) else 0


def examine(runs: str | None) -> Iterator[Finding]:
    """Every finding, the essential ones first."""
    yield _python()
    yield from _packages()
    yield _extras()
    yield _compiler()
    yield _git()
    yield _machine()
    yield from _scorer()
    yield _belts()
    yield _groups()
    yield _gpu()
    yield _key()
    yield _runs(runs)
    yield _terminal()


def able(findings: Sequence[Finding]) -> dict[str, str]:
    """Each shipped problem and why it cannot be run here; "" when it can."""
    states = {f.what: f for f in findings}
    lacking = next((f"{f.what}: {f.found}" for f in findings if f.state == "missing"), "")
    gpu = states["gpu"]
    known = {"cpu": lacking, "cuda": lacking or ("" if gpu.state == "ok" else gpu.found)}
    return {name: known.get(problem_of(name).device, "") for name in shipped_problems()}


def _lines(findings: Sequence[Finding]) -> list[str]:
    """One screen: a line for each finding, and one for what mends it while there is room."""
    size = shutil.get_terminal_size()
    width = size.columns if sys.stdout.isatty() else 0
    can = [name for name, why in able(findings).items() if not why]
    head = f"avo {__version__} on {platform.node()}: " + (f"ready for {', '.join(can)}" if can else "not ready")
    mends = [f for f in findings if f.mend]
    more = sum(len(_wrapped(list(f.parts), width or WIDE)) for f in findings if f.parts)
    told = sum(len(_filled(f.found, width)) for f in findings)
    tall = sys.stdout.isatty() and 1 + told + len(mends) + more >= size.lines
    found = [one_line(head, width)]
    for f in findings:
        mark = {"ok": "ok", "note": "--", "missing": "MISSING"}[f.state]
        first, *rest = [f.found] if tall else _filled(f.found, width)
        line, aside = f"  {mark:<8}{f.what:<10} {first}", bool(f.mend) and (tall and f.state == "note")
        found.append(one_line_kept(line + (f" -> {f.mend}" if aside else ""), width))
        found += [f"{'':<21}{line}" for line in rest]
        if f.parts and not tall:
            found += _wrapped([name + ("" if held else " (not)") for name, held in f.parts.items()], width or WIDE)
        if f.mend and not aside:
            found.append(one_line_kept(f"{'':<21}-> {f.mend}", width))
    return found


def _filled(text: str, width: int) -> list[str]:
    """A finding's text in lines that fit behind its name; one line when there is no width to keep to."""
    return (wrap(text, width - 22, break_on_hyphens=False) if width else []) or [text]


def _wrapped(parts: Sequence[str], width: int) -> list[str]:
    indent = " " * 21
    return wrap(", ".join(parts), width - 1, initial_indent=indent, subsequent_indent=indent, break_on_hyphens=False)


def one_line_kept(text: str, width: int) -> str:
    """A line clipped to `width` characters when that is given, its spaces kept."""
    return text if not width or len(text) <= width else text[: width - 1] + "…"


def _python() -> Finding:
    return Finding("python", "ok", f"{platform.python_version()} at {sys.executable}")


def _version(package: str) -> str:
    """A package's version, "" when it is not installed."""
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return ""


def _packages() -> Iterator[Finding]:
    there = [f"{name} {version}" for name in PACKAGES if (version := _version(name))]
    lacking = [name for name in PACKAGES if not _version(name)]
    yield Finding("packages", "ok" if there else "note", ", ".join(there))
    if lacking:
        yield Finding("packages", "missing", ", ".join(lacking), f"pip install {' '.join(lacking)}")


def _extras() -> Finding:
    """Optional parts: each extra of pyproject.toml by the package that it brings."""
    there = [extra for extra, package in EXTRAS.items() if find_spec(package) is not None]
    lacking = [extra for extra in EXTRAS if extra not in there]
    found = f"{', '.join(there) or 'none'} installed" + (f"; without {', '.join(lacking)}" if lacking else "")
    return Finding("extras", "ok", found, f"pip install 'avo-tui[{','.join(lacking)}]'" if lacking else "")


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
        answer = ask("probe", {})
    except ScorerError as error:
        yield Finding("scorer", "missing", one_line(str(error), 140), "'avo doctor' again once that is mended")
        return
    sandbox: dict[str, Any] = answer.get("sandbox") or {}
    tier = str(sandbox.get("tier") or "none")
    probes = sandbox.get("probes") or []
    held = sum(bool(p.get("passed")) for p in probes)
    if tier != "none":
        names = {str(p["name"]): bool(p.get("passed")) for p in probes}
        yield Finding("sandbox", "ok", f"{tier}: held off {held} of {len(probes)} attacks just now", parts=names)
        return
    mend = next((b.mend for b in belts() if not b.there), "see the reason")
    reason = one_line(str(sandbox.get("reason") or "no tier holds here"), 140)
    yield Finding("sandbox", "missing", reason, f"{mend}; or, for candidates you trust, --unsafe-no-sandbox")


def _belts() -> Finding:
    """What the tiers are made of."""
    every = belts()
    lacking = [b for b in every if not b.there]
    there = ", ".join(b.name for b in every if b.there)
    if not lacking:
        return Finding("kernel", "ok", there)
    return Finding("kernel", "note", f"{there}; without {', '.join(b.name for b in lacking)}", lacking[0].mend)


def _groups() -> Finding:
    if kind := groups():
        return Finding("cgroups", "ok", f"{kind}: memory and processes of candidates are capped")
    mend = "none needed; to have one: systemd-run --scope -p Delegate=yes avo run"
    return Finding("cgroups", "note", "not ours to make: memory is capped for each process instead", mend)


def _gpu() -> Finding:
    smi = shutil.which("nvidia-smi")
    if smi is None:
        return Finding("gpu", "note", "no NVIDIA driver here: CPU problems only")
    found = _first_line(smi, "--query-gpu=name,memory.total,driver_version", "--format=csv,noheader")
    path = nvcc()
    if path is None:
        return Finding("gpu", "note", f"{found}; no nvcc", "install the CUDA toolkit and put its bin folder on PATH")
    if "+cpu" in _version("torch"):
        mend = "install torch with CUDA: pytorch.org/get-started says how"
        return Finding("gpu", "note", f"{found}; this torch cannot use it", mend)
    release = _last_line(path, "--version")
    return Finding("gpu", "ok", f"{found}; nvcc {release}")


def _last_line(*command: str) -> str:
    """The release in what nvcc prints, which is on its last line but one."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, errors="replace", timeout=20, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        return f"does not answer ({type(error).__name__})"
    release = re.search(r"release ([\d.]+)", done.stdout)
    return release[1] if release else "of an unknown release"


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
    depth = probe(os.environ).depth
    found = f"{os.environ.get('TERM')} {size.columns}x{size.lines}, {COLOURS.get(depth, depth)}"
    return Finding("terminal", "note" if small else "ok", found, "80x24 or more shows every pane" if small else "")


def _first_line(*command: str) -> str:
    try:
        done = subprocess.run(command, capture_output=True, text=True, errors="replace", timeout=20, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        return f"does not answer ({type(error).__name__})"
    lines = (done.stdout or done.stderr).strip().splitlines()
    return one_line(lines[0], 90) if lines else f"ended with code {done.returncode}"
