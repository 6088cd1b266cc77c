"""What one call of a CUDA candidate costs its device: Nsight Compute's counters.

One rule: ncu starts the candidate and so is confined with it, as a GPU worker is. Where the driver lets only an
administrator count, that is told in words; no figure is made up, and none of these is ever a score.
"""

from __future__ import annotations

import csv
from collections.abc import Iterator, Mapping
from pathlib import Path

from engine.record.frozen import dataclass
from engine.scorer import sandbox
from engine.scorer.children import Children
from engine.scorer.confined import Confined
from engine.scorer.cuda import toolchain as tools
from engine.scorer.cuda.code import found
from engine.scorer.cuda.driver import same_device
from engine.scorer.problem import Configuration
from engine.scorer.text import clean, one_line
from engine.scorer.toolchain import Toolchain, temporary

TIMEOUT_S = 90
OUTPUT_LIMIT = 4 << 20
_TIME = "gpu__time_duration.sum"
# Name, unit: the counter of Nsight Compute (Kernel Profiling Guide, Metrics Reference) in base units, and its factor.
SHARES = {
    "tensor_active": "sm__pipe_tensor_op_hmma_cycles_active.avg.pct_of_peak_sustained_active",  # wgmma counts here, too
    "special_active": "sm__inst_executed_pipe_xu.avg.pct_of_peak_sustained_active",
    "issue_active": "sm__inst_issued.avg.pct_of_peak_sustained_active",
    "occupancy": "sm__warps_active.avg.pct_of_peak_sustained_active",
    "clock_ghz": "sm__cycles_elapsed.avg.per_second",
}
SUMS = {
    "l2_read_gb": ("lts__t_sectors_op_read.sum", 32e-9),  # sectors of 32 bytes
    "memory_read_gb": ("dram__bytes_read.sum", 1e-9),
}
_FACTORS = {name: 1e-9 if name.endswith("_ghz") else 0.01 for name in SHARES}


@dataclass(frozen=True, slots=True)
class Counted:
    """One call: the kernels it launched, and what they cost by name. Shares and the clock are weighted by time."""

    kernels: int
    time_us: float
    values: Mapping[str, float]


def count(
    library: Path, shape: Configuration, toolchain: Toolchain, children: Children, env: Mapping[str, str]
) -> Counted | str:
    """The counters of one call of a built candidate, or why there are none."""
    if (ncu := found("ncu")) is None:
        return "ncu (Nsight Compute) is not installed"
    alone, sizes = tools.alone(toolchain), (shape.batch, shape.heads_q, shape.heads_kv, shape.seqlen, shape.head_dim)
    wanted = ",".join((_TIME, *SHARES.values(), *(name for name, _ in SUMS.values())))
    options = ("--csv", "--print-units", "base", "--clock-control", "none", "--profile-from-start", "off")
    with temporary(toolchain.cache) as folder:
        folder.chmod(0o711)
        scratch = folder / "scratch"
        scratch.mkdir(mode=0o700)
        sandbox.give(children.sandbox, scratch)
        own = {"PATH": "/usr/bin:/bin", "LC_ALL": "C", "HOME": str(scratch), "TMPDIR": str(scratch), **same_device(env)}
        tool = (str(Path(ncu).resolve()), *options, "--metrics", wanted)
        arguments = [str(n) for n in (*sizes, int(shape.causal))]
        if children.sandbox.unsafe:
            job = Confined([*tool, str(alone), str(library), *arguments], own, ())
        else:
            job = sandbox.device_job(
                children.sandbox, alone, library, arguments, env=own, fds=(), tool=tool, scratch=scratch
            )
        done = children.run(job.argv, env=job.env, timeout_s=TIMEOUT_S, limit=OUTPUT_LIMIT)
    if done.timed_out:
        return f"ncu had not counted a call of {shape.name} after {TIMEOUT_S} s"
    said = clean(done.output.decode("utf-8", "replace"))
    return counted(said) or f"ncu {_why(said, done.code)}"


def counted(said: str) -> Counted | None:
    """What ncu's table says; None when it has none."""
    launches: dict[str, dict[str, float]] = {}
    for row in _rows(said):
        try:
            value = float(row["Metric Value"].replace(",", ""))
        except ValueError:  # n/a: this device has no such counter
            continue
        launches.setdefault(row["ID"], {})[row["Metric Name"]] = value
    times = {key: values[_TIME] for key, values in launches.items() if values.get(_TIME, 0.0) > 0.0}
    if not times:
        return None
    whole = sum(times.values())
    values: dict[str, float] = {}
    for name, counter in SHARES.items():
        parts = [times[key] * launches[key][counter] for key in times if counter in launches[key]]
        if parts:
            values[name] = sum(parts) / whole * _FACTORS[name]
    for name, (counter, factor) in SUMS.items():
        parts = [launches[key][counter] for key in times if counter in launches[key]]
        if parts:
            values[name] = sum(parts) * factor
    return Counted(len(times), whole / 1e3, values)


def _rows(said: str) -> Iterator[dict[str, str]]:
    lines = said.splitlines()
    start = next((i for i, line in enumerate(lines) if line.startswith('"ID","')), len(lines))
    for row in csv.DictReader(line for line in lines[start:] if line.startswith('"')):
        if row.get("Metric Name") and row.get("Metric Value") and row.get("ID"):
            yield row


def _why(said: str, code: int | None) -> str:
    if "ERR_NVGPUCTRPERM" in said:
        return (
            "may not count: this driver lets only an administrator (load the nvidia module with "
            "NVreg_RestrictProfilingToAdminUsers=0)"
        )
    lines = [line for line in said.splitlines() if line.startswith("==ERROR==")] or said.splitlines()[-1:]
    return f"gave no counters ({f'status {code}' if code else 'nothing was launched'}): {one_line(' '.join(lines))}"
