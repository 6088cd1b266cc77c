"""A profile of one CUDA candidate: ptxas' report, what the machine code is made of, achieved against the roofline.

One rule, the CPU profile's: facts are measured or read from the binary; a fact that cannot be had is left out.
"""

from __future__ import annotations

import collections
import re
import shutil
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from engine.record.scores import geomean
from engine.scorer import intake
from engine.scorer import toolchain as tools
from engine.scorer.build import Built, build
from engine.scorer.failure import CandidateFailed
from engine.scorer.timing import quantile

if TYPE_CHECKING:
    from engine.scorer.bench import Bench, Emit, Options
    from engine.scorer.cuda.device import CudaDevice

Facts = dict[str, float | bool | str]

# What an instruction is for, by the beginning of its SASS name (CUDA Binary Utilities, Hopper instruction set).
CLASSES = {
    "tensor_core": ("HGMMA", "HMMA", "UTCHMMA", "UTCQMMA"),
    "special_function": ("MUFU",),
    "fma": ("FFMA", "FMUL", "FADD", "FMNMX", "HFMA2", "FSETP", "FSEL"),
    "integer": ("IADD3", "IMAD", "LOP3", "SHF", "LEA", "ISETP", "VIMNMX", "PRMT", "MOV", "SEL"),
    "shared": ("LDS", "STS", "LDSM", "STSM"),
    "global": ("LDG", "STG", "UTMALDG", "UTMASTG", "UBLKCP", "LDGSTS"),
    "spill": ("LDL", "STL"),
    "sync": ("SYNCS", "BAR", "WARPSYNC", "WARPGROUP", "DEPBAR", "ELECT"),
}
_ENTRY = re.compile(r"Compiling entry function '([^']+)'")
_USED = re.compile(r"Used (\d+) registers")
_SHARED = re.compile(r"(\d+) bytes smem")
_SPILLS = re.compile(r"(\d+) bytes spill stores, (\d+) bytes spill loads")
_SASS = re.compile(r"^\s+/\*[0-9a-f]{4,}\*/\s+(?:@!?U?P\d+\s+|@!?UPT\s+|@!?PT\s+)?([A-Z][A-Z0-9_]*)")


def profile(bench: Bench, device: CudaDevice, source: Path, options: Options, emit: Emit) -> dict[str, Any]:
    """{"text", "facts", "log"} for one candidate; a candidate that fails gives its reason as text and machine facts."""
    facts: Facts = machine_facts()
    problem = device.judge.problem
    try:
        candidate = intake.take(source, problem)
        built = build(candidate, problem, device.toolchain, bench.children, timeout_s=options.build_timeout_s)
        speeds = _speeds(bench, device, built, options, emit)
    except CandidateFailed as failed:
        facts["profile.failed"] = failed.failure.stage
        return {"text": f"no profile: {failed.failure.reason}", "facts": facts, "log": failed.log}
    kernels = ptxas_report(built.log)
    mix = instruction_mix(built.library)
    facts.update(_code_facts(kernels, mix))
    facts.update(_score_facts(speeds, float(facts["machine.peak_tflops"])))
    return {"text": _text(device, facts, speeds, kernels, mix), "facts": facts, "log": built.log}


def machine_facts() -> Facts:
    """What this device can do; the peak is an 8192-cubed bf16 matrix product on random data, best of a few."""
    properties = torch.cuda.get_device_properties()
    facts: Facts = {"machine.sms": properties.multi_processor_count, "machine.l2_kb": properties.L2_cache_size >> 10}
    facts["machine.memory_gb"] = round(properties.total_memory / 1e9, 1)
    facts["machine.peak_tflops"] = round(_matmul_tflops(), 1)
    return facts


def ptxas_report(log: str) -> dict[str, dict[str, int]]:
    """Registers, static shared memory and spills of each entry function, from `ptxas -v`."""
    found: dict[str, dict[str, int]] = {}
    name = ""
    for line in log.splitlines():
        if match := _ENTRY.search(line):
            name = match[1]
            found.setdefault(name, {"registers": 0, "shared_bytes": 0, "spill_bytes": 0})
        elif name and (match := _SPILLS.search(line)):
            found[name]["spill_bytes"] = int(match[1]) + int(match[2])
        elif name and (match := _USED.search(line)):
            found[name]["registers"] = int(match[1])
            shared = _SHARED.search(line)
            found[name]["shared_bytes"] = int(shared[1]) if shared else 0
    return found


def instruction_mix(library: Path) -> dict[str, int] | None:
    """How many machine instructions of each class the library holds, or None without cuobjdump."""
    path = shutil.which("cuobjdump") or shutil.which("cuobjdump", path="/usr/local/cuda/bin:/opt/cuda/bin")
    if path is None:
        return None
    argv = [path, "--dump-sass", str(library)]
    done = subprocess.run(argv, capture_output=True, text=True, env=tools.environment(), timeout=120)
    return classify(done.stdout) if done.returncode == 0 else None


def classify(sass: str) -> dict[str, int]:
    """Count a SASS listing's instructions by class."""
    counts: collections.Counter[str] = collections.Counter()
    for line in sass.splitlines():
        if match := _SASS.match(line):
            name = match[1]
            counts[next((c for c, begins in CLASSES.items() if name.startswith(begins)), "other")] += 1
    return dict(counts)


def _matmul_tflops(size: int = 8192) -> float:
    a, b = (torch.randn(size, size, device="cuda", dtype=torch.bfloat16) for _ in range(2))
    best = 0.0
    for _ in range(4):
        start, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
        start.record()
        torch.matmul(a, b)
        end.record()
        torch.cuda.synchronize()
        best = max(best, 2 * size**3 / (start.elapsed_time(end) * 1e-3) / 1e12)
    return best


def _speeds(bench: Bench, device: CudaDevice, built: Built, options: Options, emit: Emit) -> dict[str, float]:
    """TFLOPS per configuration, from few calls, each checked."""
    worker = device.start(built, bench.children)
    speeds: dict[str, float] = {}
    try:
        for done, shape in enumerate(options.configurations):
            bench.children.check()
            calls = [bench.judge.call(worker, shape, timeout_s=options.call_timeout_s).latency_us for _ in range(3)]
            speeds[shape.name] = shape.flops / (quantile(calls) * 1e6)
            event = {"event": "progress", "phase": "profile", "configuration": shape.name, "text": ""}
            emit({**event, "done": done + 1, "of": len(options.configurations)})
    finally:
        worker.close()
    return speeds


def _code_facts(kernels: dict[str, dict[str, int]], mix: dict[str, int] | None) -> Facts:
    facts: Facts = {}
    if kernels:
        facts["profile.registers"] = max(k["registers"] for k in kernels.values())
        facts["profile.spills"] = max(k["spill_bytes"] for k in kernels.values())
    if mix:
        total = sum(mix.values())
        facts.update({f"profile.{name}_share": round(count / total, 4) for name, count in mix.items()})
        facts["profile.wgmma"] = mix.get("tensor_core", 0) > 0
    return facts


def _score_facts(speeds: dict[str, float], peak: float) -> Facts:
    found: Facts = {}
    if mean := geomean(list(speeds.values())):
        found["score.roofline_fraction"] = round(mean / peak, 4)
    pairs = [(speeds[n], speeds[o]) for n in speeds if (o := n.replace("causal", "full")) != n and o in speeds]
    if ratio := geomean([causal / full for causal, full in pairs]):
        found["score.causal_over_full"] = round(ratio, 3)
    return found


def _text(
    device: CudaDevice,
    facts: Facts,
    speeds: dict[str, float],
    kernels: dict[str, dict[str, int]],
    mix: dict[str, int] | None,
) -> str:
    peak = float(facts["machine.peak_tflops"])
    lines = [
        f"machine    {device.label()}; bf16 matrix product {peak:.0f} TFLOPS measured",
        f"compiler   {device.toolchain.version}",
        f"flags      {' '.join(device.judge.problem.build.flags)}",
        "",
        f"{'configuration':<20}{'TFLOPS':>9}{'of matmul':>11}",
        *(f"{name:<20}{speed:>9.1f}{speed / peak:>11.1%}" for name, speed in speeds.items()),
        "",
        f"{'kernel':<48}{'registers':>10}{'shared B':>10}{'spill B':>9}",
        *(
            f"{name[:46]:<48}{k['registers']:>10}{k['shared_bytes']:>10}{k['spill_bytes']:>9}"
            for name, k in kernels.items()
        ),
    ]
    if mix is None:
        return "\n".join([*lines, "", "no instruction mix: cuobjdump (CUDA toolkit) is not installed"])
    total = sum(mix.values())
    counts = sorted(mix.items(), key=lambda kv: -kv[1])
    return "\n".join(
        [*lines, "", "machine instructions (static)", *(f"{n:<20}{c:>7}{c / total:>8.1%}" for n, c in counts)]
    )
