"""The host: processor and GPU load, temperature, clocks and memory, and who else is on it. Read, never changed."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

from avo_tui.model import show
from avo_tui.model.lines import Line, Row, clean, clip_text, join_fitting
from engine.record.frozen import dataclass

_GPU = "name,utilization.gpu,temperature.gpu,clocks.sm,power.draw,memory.used,memory.total"
_GPU_TIMEOUT_S = 4.0


@dataclass(frozen=True, slots=True)
class Load:
    """One look at the host. Fractions of 1; None where the system does not say.

    `top` are the busiest processes with the cores each keeps busy, `apps` who is on a GPU with its memory.
    """

    cores: int
    busy: float | None = None
    load: float | None = None
    memory_used: float | None = None
    memory_gb: float | None = None
    celsius: float | None = None
    mhz: float | None = None
    top: tuple[tuple[str, float], ...] = ()
    gpus: tuple[str, ...] = ()
    apps: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True)
class Ticks:
    """Processor time so far: (all, idle) of the host, and of each process by pid."""

    all: int
    idle: int
    processes: dict[int, tuple[str, int]]


def ticks() -> Ticks:
    """Processor time so far (proc(5)); empty where there is no /proc."""
    try:
        figures = [int(v) for v in Path("/proc/stat").read_text("ascii").split("\n", 1)[0].split()[1:9]]
    except (OSError, ValueError):
        return Ticks(0, 0, {})
    found: dict[int, tuple[str, int]] = {}
    for folder in Path("/proc").iterdir():
        if not folder.name.isdigit():
            continue
        try:
            text = (folder / "stat").read_text("utf-8", "replace")
        except OSError:
            continue
        head, _, tail = text.rpartition(")")
        parts = tail.split()
        found[int(folder.name)] = (clean(head.partition("(")[2]), int(parts[11]) + int(parts[12]))
    return Ticks(sum(figures), figures[3] + figures[4], found)


def load(before: Ticks, now: Ticks, *, gpus: tuple[str, ...] = (), apps: tuple[tuple[str, str], ...] = ()) -> Load:
    """The host between two looks."""
    passed = now.all - before.all
    cores = os.cpu_count() or 1
    used = [(name, (t - before.processes[pid][1]) / passed * cores) for pid, (name, t) in now.processes.items()
            if pid in before.processes] if passed > 0 else []  # fmt: skip
    busiest = tuple(sorted((u for u in used if u[1] > 0.05), key=lambda u: -u[1])[:4])
    memory = _memory()
    return Load(
        cores,
        1 - (now.idle - before.idle) / passed if passed > 0 else None,
        _first_number("/proc/loadavg"),
        None if memory is None else 1 - memory[1] / memory[0],
        None if memory is None else memory[0] / 1e6,
        _celsius(),
        _mhz(),
        busiest,
        gpus,
        apps,
    )


def gpus() -> tuple[str, ...]:
    """A line for each GPU, from nvidia-smi; none where there is none."""
    return tuple(_gpu_line(line) for line in _smi(f"--query-gpu={_GPU}"))


def apps() -> tuple[tuple[str, str], ...]:
    """Who computes on a GPU: (name, MiB)."""
    found = (line.rpartition(",") for line in _smi("--query-compute-apps=process_name,used_memory"))
    return tuple((clean(name.strip().rsplit("/", 1)[-1]), clean(mib.strip())) for name, _, mib in found if name)


def _smi(query: str) -> list[str]:
    if shutil.which("nvidia-smi") is None:
        return []
    argv = ["nvidia-smi", query, "--format=csv,noheader,nounits"]
    try:
        done = subprocess.run(argv, capture_output=True, text=True, timeout=_GPU_TIMEOUT_S, check=True)
    except (OSError, subprocess.SubprocessError):
        return []
    return done.stdout.strip().splitlines()


def _gpu_line(line: str) -> str:
    parts = [clean(p.strip()) for p in line.split(",")]
    if len(parts) != 7:
        return clean(line)
    name, busy, celsius, mhz, watts, used, total = parts
    return f"{name}: {busy} % busy, {celsius} °C, {mhz} MHz, {watts} W, {used} of {total} MiB"


def _first_number(path: str) -> float | None:
    try:
        return float(Path(path).read_text("ascii").split()[0])
    except (OSError, ValueError, IndexError):
        return None


def _memory() -> tuple[float, float] | None:
    try:
        lines = Path("/proc/meminfo").read_text("ascii").splitlines()
        values = {line.split(":")[0]: float(line.split()[1]) for line in lines if ":" in line}
        return values["MemTotal"], values["MemAvailable"]
    except (OSError, ValueError, KeyError, IndexError):
        return None


def _celsius() -> float | None:
    zones = sorted(Path("/sys/class/thermal").glob("thermal_zone*/temp"))
    found = [v / 1000 for p in zones if (v := _first_number(str(p))) is not None]
    return max(found, default=None)


def _mhz() -> float | None:
    found = _first_number("/sys/devices/system/cpu/cpu0/cpufreq/scaling_cur_freq")
    return found / 1000 if found else None


def host_rows(found: Load | None, where: str, here: bool, width: int) -> list[Row]:
    """The host's section: how busy, how warm, how full, and by whom."""
    if not here:
        return [Row(((f"   the engine runs on {clean(where)}; its load cannot be seen from here", "dim"),))]
    if found is None:
        return [Row((("   looking…", "dim"),))]
    crowded = found.load is not None and found.load > found.cores * 1.5
    rows = [Row((("   ", ""), *join_fitting(_facts(found, crowded), (" · ", "faint"), width - 4)))]
    if found.top:
        rows.append(_names("busy", [(name, f"{share * 100:.0f} %") for name, share in found.top], width))
    rows += [Row(((f"   {clip_text(line, width - 4)}", ""),)) for line in found.gpus]
    if found.apps:
        rows.append(_names("on it", [(name, f"{mib} MiB") for name, mib in found.apps], width))
    return rows


def _facts(found: Load, crowded: bool) -> list[Line]:
    facts: list[tuple[str, str]] = [(show.count(found.cores, "core"), "")]
    if found.busy is not None:
        facts.append((f"{found.busy * 100:.0f} % busy", ""))
    if found.load is not None:
        facts.append((f"load {found.load:.1f}{', crowded' if crowded else ''}", "warn" if crowded else ""))
    if found.memory_used and found.memory_gb:
        full = found.memory_used > 0.9
        facts.append((f"memory {found.memory_used * 100:.0f} % of {found.memory_gb:.0f} GB", "warn" if full else ""))
    facts += [(f"{found.celsius:.0f} °C", "")] if found.celsius else []
    facts += [(f"{found.mhz:.0f} MHz", "")] if found.mhz else []
    return [(fact,) for fact in facts]


def _names(word: str, named: list[tuple[str, str]], width: int) -> Row:
    parts: list[Line] = [((f"{name} ", ""), (figure, "dim")) for name, figure in named]
    return Row(((f"   {word:<6}", "dim"), *join_fitting(parts, (", ", "dim"), width - 10)))
