"""A profile of one CUDA candidate: ptxas' report, what the machine code is made of, achieved against the roofline.

One rule, the CPU profile's: facts are measured or read from the binary; a fact that cannot be had is left out.
"""

from __future__ import annotations

import os
import statistics
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from engine.record.scores import geomean
from engine.scorer import intake
from engine.scorer.build import Built, build
from engine.scorer.cuda.code import Facts, classify, code_facts, code_text, machine_code, ptxas_report
from engine.scorer.cuda.counters import Counted, count
from engine.scorer.cuda.loops import loops_text, matrix_loops
from engine.scorer.failure import CandidateFailed
from engine.scorer.timing import quantile

if TYPE_CHECKING:
    from engine.scorer.bench import Bench, Emit, Options
    from engine.scorer.cuda.device import CudaDevice


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
    sass = machine_code(built.library, bench.children, device.toolchain.cache)
    mix = None if sass is None else classify(sass)
    facts.update(code_facts(kernels, mix))
    facts.update(_score_facts(speeds, float(facts["machine.peak_tflops"])))
    code = [*code_text(kernels, mix), *([] if sass is None else ["", *loops_text(matrix_loops(sass))])]
    counts = _counts(bench, device, built, options)
    facts.update(_count_facts(counts))
    text = "\n".join([*_text(device, facts, speeds, code), "", *_count_text(counts)])
    return {"text": text, "facts": facts, "log": built.log}


def _counts(bench: Bench, device: CudaDevice, built: Built, options: Options) -> dict[str, Counted | str]:
    """Counters by configuration; where the first has none, its reason stands for all."""
    counts: dict[str, Counted | str] = {}
    for shape in options.configurations:
        bench.children.check()
        counts[shape.name] = count(built.library, shape, device.toolchain, bench.children, os.environ)
        if isinstance(counts[shape.name], str):
            break
    return counts


def _count_facts(counts: dict[str, Counted | str]) -> Facts:
    """Means over the configurations: what limits a kernel, for the playbook and the agent."""
    seen = [c.values for c in counts.values() if isinstance(c, Counted)]
    names = sorted({name for values in seen for name in values})
    means = {name: statistics.fmean(values[name] for values in seen if name in values) for name in names}
    return {f"profile.{name}": round(mean, 4) for name, mean in means.items()}


def _count_text(counts: dict[str, Counted | str]) -> list[str]:
    why = next((c for c in counts.values() if isinstance(c, str)), "")
    if why:
        return [f"hardware counters: none: {why}"]
    lines = ["hardware counters (ncu, one call alone in its sandbox, clocks left as they are)"]
    heads = ("tensor", "special", "issue", "warps", "GHz", "L2 GB", "memory GB", "kernels")
    lines.append(f"{'configuration':<20}" + "".join(f"{head:>10}" for head in heads))
    for name, c in counts.items():
        assert isinstance(c, Counted)
        shares = [c.values.get(k) for k in ("tensor_active", "special_active", "issue_active", "occupancy")]
        others = [c.values.get(k) for k in ("clock_ghz", "l2_read_gb", "memory_read_gb")]
        cells = ["-" if s is None else f"{s:.1%}" for s in shares] + ["-" if o is None else f"{o:.2f}" for o in others]
        lines.append(f"{name:<20}" + "".join(f"{cell:>10}" for cell in (*cells, str(c.kernels))))
    return lines


def machine_facts() -> Facts:
    """What this device can do; the peak is an 8192-cubed bf16 matrix product on random data, best of a few."""
    properties = torch.cuda.get_device_properties()
    facts: Facts = {"machine.sms": properties.multi_processor_count, "machine.l2_kb": properties.L2_cache_size >> 10}
    facts["machine.memory_gb"] = round(properties.total_memory / 1e9, 1)
    facts["machine.peak_tflops"] = round(_matmul_tflops(), 1)
    return facts


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


def _score_facts(speeds: dict[str, float], peak: float) -> Facts:
    found: Facts = {}
    if mean := geomean(list(speeds.values())):
        found["score.roofline_fraction"] = round(mean / peak, 4)
    pairs = [(speeds[n], speeds[o]) for n in speeds if (o := n.replace("causal", "full")) != n and o in speeds]
    if ratio := geomean([causal / full for causal, full in pairs]):
        found["score.causal_over_full"] = round(ratio, 3)
    return found


def _text(device: CudaDevice, facts: Facts, speeds: dict[str, float], code: list[str]) -> list[str]:
    peak = float(facts["machine.peak_tflops"])
    return [
        f"machine    {device.label()}; bf16 matrix product {peak:.0f} TFLOPS measured",
        f"compiler   {device.toolchain.version}",
        f"flags      {' '.join(device.judge.problem.build.flags)}",
        "",
        f"{'configuration':<20}{'TFLOPS':>9}{'of matmul':>11}",
        *(f"{name:<20}{speed:>9.1f}{speed / peak:>11.1%}" for name, speed in speeds.items()),
        "",
        *code,
    ]
