"""A profile of one candidate: what the compiler did, and how far each configuration is from this machine's peak.

One rule: facts are measured or read from the machine and the binary; a fact that cannot be had is left out.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

from engine.record.scores import geomean
from engine.scorer import intake, machine
from engine.scorer.assembly import Listing, disassemble
from engine.scorer.bench import Bench, Emit, Options, Tally
from engine.scorer.build import Built, build, remarks
from engine.scorer.failure import CandidateFailed
from engine.scorer.problem import Configuration
from engine.scorer.timing import ROUND, quantile
from engine.scorer.worker import Runs

if TYPE_CHECKING:
    from engine.scorer.cpu import CpuDevice

Facts = dict[str, float | bool | str]


def profile(bench: Bench, device: CpuDevice, source: Path, options: Options, emit: Emit) -> dict[str, Any]:
    """{"text", "facts", "log"} for one candidate; a candidate that fails gives its reason as text and machine facts."""
    facts = machine_facts(device)
    try:
        candidate = intake.take(source, bench.judge.problem)
        problem = bench.judge.problem
        built = build(candidate, problem, bench.device.toolchain, bench.children, timeout_s=options.build_timeout_s)
        log = remarks(candidate, problem, bench.device.toolchain, bench.children, timeout_s=options.build_timeout_s)
        speeds = _speeds(bench, built, options, emit)
    except CandidateFailed as failed:
        facts["profile.failed"] = failed.failure.stage
        return {"text": f"no profile: {failed.failure.reason}", "facts": facts, "log": failed.log}
    listing = disassemble(built.library, bench.children, device.toolchain.cache)
    facts.update(code_facts(listing))
    facts.update(_score_facts(speeds, facts))
    facts.update(_parallel_fact(bench, built, options))
    flags = (*problem.build.flags, *candidate.flags)
    return {"text": _text(bench, flags, facts, speeds, listing, log), "facts": facts, "log": log}


def machine_facts(device: CpuDevice) -> Facts:
    """What this machine can do."""
    facts: Facts = {"machine.cores": device.judge.threads}
    for level in (1, 2, 3):
        if (size := machine.cache_kb(level)) is not None:
            facts[f"machine.l{level}_kb"] = size
    facts.update({f"machine.{f}": machine.has(f) for f in ("avx2", "fma")})
    facts["machine.avx512"] = machine.has("avx512f")
    facts["machine.peak_gflops"] = round(max(device.hands.peak_gflops(device.judge.threads) for _ in range(3)), 1)
    return facts


def _speeds(bench: Bench, built: Built, options: Options, emit: Emit) -> dict[str, float]:
    """GFLOPS per configuration, from few calls, each checked."""
    worker = bench.device.start(built, bench.children)
    speeds: dict[str, float] = {}
    try:
        for done, shape in enumerate(options.configurations):
            speeds[shape.name] = shape.flops / (_latency_us(bench, worker, shape, options) * 1e3)
            event = {"event": "progress", "phase": "profile", "configuration": shape.name, "text": ""}
            emit({**event, "done": done + 1, "of": len(options.configurations)})
    finally:
        worker.close()
    return speeds


def _latency_us(bench: Bench, worker: Runs, shape: Configuration, options: Options) -> float:
    first, _ = bench.call(worker, shape, options, Tally())
    calls = [bench.call(worker, shape, options, Tally())[0] for _ in range(ROUND.more_calls(first))]
    return quantile(calls or [first])


def code_facts(listing: Listing | None) -> Facts:
    """What the listing says of the hot loop and of what is called; nothing without one."""
    if listing is None:
        return {}
    facts: Facts = {
        "profile.gather_count": listing.gathers,
        "profile.calls_libm_exp": sum(n for name, n in listing.calls.items() if re.search(r"exp2?f?$", name)) > 0,
        "profile.openmp": any(name.startswith("GOMP_parallel") for name in listing.calls),
    }
    if listing.loops:
        hot = listing.loops[0]
        facts["profile.vector_bits"] = hot.vector_bits
        facts["profile.fma_share"] = round(hot.fma_share, 3)
        facts["profile.spills"] = hot.spills
    return facts


def _score_facts(speeds: dict[str, float], facts: Facts) -> Facts:
    found: Facts = {}
    mean, peak = geomean(list(speeds.values())), float(facts["machine.peak_gflops"])
    if mean:
        found["score.roofline_fraction"] = round(mean / peak, 4)
    pairs = [(speeds[n], speeds[o]) for n in speeds if (o := n.replace("causal", "full")) != n and o in speeds]
    if ratio := geomean([causal / full for causal, full in pairs]):
        found["score.causal_over_full"] = round(ratio, 3)
    names = [n for n in speeds if n.startswith("full")] or list(speeds)
    if len(names) > 1:
        found["score.short_over_long"] = round(speeds[names[0]] / speeds[names[-1]], 3)
    return found


def _parallel_fact(bench: Bench, built: Built, options: Options) -> Facts:
    """Speed-up from one thread to all, per thread, on the cheapest configuration."""
    threads = bench.judge.threads
    if threads < 2:
        return {}
    shape = min(options.configurations, key=lambda c: c.unmasked_flops)
    latency = {}
    for count in (1, threads):
        worker = bench.device.start(built, bench.children, threads=count)
        try:
            latency[count] = _latency_us(bench, worker, shape, options)
        finally:
            worker.close()
    return {"score.parallel_efficiency": round(latency[1] / latency[threads] / threads, 3)}


def _text(
    bench: Bench, flags: tuple[str, ...], facts: Facts, speeds: dict[str, float], listing: Listing | None, log: str
) -> str:
    peak = float(facts["machine.peak_gflops"])
    lines = [
        f"machine    {machine.device(bench.judge.threads)}; peak {peak:.0f} GFLOPS measured (float32 FMA)",
        f"compiler   {bench.device.toolchain.version}",
        f"flags      {' '.join(flags)}",
        "",
        f"{'configuration':<16}{'GFLOPS':>9}{'of peak':>9}",
        *(f"{name:<16}{speed:>9.1f}{speed / peak:>9.1%}" for name, speed in speeds.items()),
        "",
        *(f"{name:<28}{value}" for name, value in facts.items() if not name.startswith("machine.")),
    ]
    if listing is None:
        lines += ["", "no disassembly: objdump (binutils) is not installed"]
    elif listing.loops:
        for place, loop in enumerate(listing.loops[:2]):
            what = "hottest loop (guessed from its floating-point work)" if place == 0 else "next loop"
            lines += ["", f"{what}: {loop.symbol}, {len(loop.body)} instructions, {loop.vector_bits}-bit", loop.text()]
    vectorised = [line for line in log.splitlines() if "optimized:" in line]
    missed = [line for line in log.splitlines() if "missed:" in line and "couldn't vectorize loop" in line]
    lines += ["", f"vectorised by the compiler: {len(vectorised)} places", *vectorised[:12]]
    lines += [f"loops it could not vectorise: {len(missed)}", *missed[:12]]
    return "\n".join(lines)
