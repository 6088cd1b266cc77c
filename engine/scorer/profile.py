"""A profile of one candidate: what the compiler did, and how far each configuration is from this machine's peak.

One rule: facts are measured or read from the machine and the binary; a fact that cannot be had is left out.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from engine.record.frozen import dataclass
from engine.record.scores import geomean
from engine.scorer import hotspots, intake, machine, remarks
from engine.scorer.assembly import Listing, Loop, disassemble
from engine.scorer.bench import Bench, Emit, Options, Tally
from engine.scorer.build import Built, build
from engine.scorer.counters import Place, Watch, per_thousand
from engine.scorer.failure import CandidateFailed
from engine.scorer.hotspots import Spot
from engine.scorer.problem import DTYPES, Configuration
from engine.scorer.timing import ROUND, quantile
from engine.scorer.worker import Runs

if TYPE_CHECKING:
    from engine.scorer.cpu import CpuDevice

Facts = dict[str, float | bool | str]
COLUMNS = {
    "cycles": "instr/cyc",
    "l1_misses": "L1 misses",
    "cache_misses": "LLC misses",
    "tlb_misses": "TLB misses",
    "branch_misses": "branch m.",
}


@dataclass(frozen=True, slots=True)
class Measured:
    """One configuration: what it reaches, what bounds it, and what its calls cost the processor, per call."""

    shape: Configuration
    gflops: float
    wall_us: float
    counts: Mapping[str, float]

    @property
    def busy(self) -> float | None:
        """Processors at work, on average, while the calls ran; a thread that waits by spinning counts as working."""
        return self.counts["processor_ns"] / (1e3 * self.wall_us) if "processor_ns" in self.counts else None


@dataclass(frozen=True, slots=True)
class Watched:
    """All that the profiled calls showed."""

    measured: tuple[Measured, ...]
    places: tuple[Place, ...]
    clock: str
    absent: str
    unsampled: str
    peak_gflops: float


def profile(bench: Bench, device: CpuDevice, source: Path, options: Options, emit: Emit) -> dict[str, Any]:
    """{"text", "facts", "log"} for one candidate; a candidate that fails gives its reason as text and machine facts."""
    facts = machine_facts(device)
    toolchain = bench.device.toolchain
    try:
        candidate = intake.take(source, bench.judge.problem)
        problem = bench.judge.problem
        built = build(candidate, problem, toolchain, bench.children, timeout_s=options.build_timeout_s)
        seen = _watch(bench, device, built, options, emit)
        facts["machine.peak_gflops"] = round(max(float(facts["machine.peak_gflops"]), seen.peak_gflops), 1)
        facts.update(_parallel_fact(bench, built, options))
    except CandidateFailed as failed:
        facts["profile.failed"] = failed.failure.stage
        return {"text": f"no profile: {failed.failure.reason}", "facts": facts, "log": failed.log}
    listing = disassemble(built.library, bench.children, device.toolchain.cache)
    found = hotspots.spots(listing or Listing(), seen.places)
    facts.update(code_facts(listing, found) | counter_facts(seen))
    facts.update(_score_facts({m.shape.name: m.gflops for m in seen.measured}, facts))
    flags = (*problem.build.flags, *candidate.flags)
    told = remarks.read(built.remarks, tuple(candidate.files))
    said = (*built.log.splitlines(), *built.remarks.splitlines())
    own = "\n".join(line for line in said if line.startswith(tuple(candidate.files)))
    return {"text": _text(bench, flags, facts, seen, listing, found, told), "facts": facts, "log": own}


def machine_facts(device: CpuDevice) -> Facts:
    """What this machine can do."""
    facts: Facts = {"machine.cores": device.judge.threads}
    for level in (1, 2, 3):
        if (size := machine.cache_kb(level)) is not None:
            facts[f"machine.l{level}_kb"] = size
    facts.update({f"machine.{f}": machine.has(f) for f in ("avx2", "fma")})
    facts["machine.avx512"] = machine.has("avx512f")
    facts["machine.peak_gflops"] = round(max(device.hands.peak_gflops(device.judge.threads) for _ in range(3)), 1)
    facts["machine.memory_gb_s"] = round(device.memory_gb_s, 1)
    return facts


def _watch(bench: Bench, device: CpuDevice, built: Built, options: Options, emit: Emit) -> Watched:
    """Every configuration, by few calls that are each checked, counted and sampled; the peak again beside each."""
    worker = device.start(built, bench.children)
    measured: list[Measured] = []
    peak = 0.0
    try:
        with Watch(worker.pid) as watch:
            for done, shape in enumerate(options.configurations):
                before = watch.counts()
                latencies = _latencies_us(bench, worker, shape, options)
                counts = {name: (now - before.get(name, 0.0)) / len(latencies) for name, now in watch.counts().items()}
                gflops = shape.flops / (quantile(latencies[1:] or latencies) * 1e3)
                measured.append(Measured(shape, gflops, sum(latencies) / len(latencies), counts))
                peak = max(peak, device.hands.peak_gflops(device.judge.threads))
                event = {"event": "progress", "phase": "profile", "configuration": shape.name, "text": ""}
                emit({**event, "done": done + 1, "of": len(options.configurations)})
            return Watched(tuple(measured), tuple(watch.places()), watch.clock, watch.absent, watch.unsampled, peak)
    finally:
        worker.close()


def _latencies_us(bench: Bench, worker: Runs, shape: Configuration, options: Options) -> list[float]:
    """The first call, which also warms up, and those after it."""
    first, _ = bench.call(worker, shape, options, Tally())
    return [first, *(bench.call(worker, shape, options, Tally())[0] for _ in range(ROUND.more_calls(first)))]


def code_facts(listing: Listing | None, found: Sequence[Spot] = ()) -> Facts:
    """What the listing says of the hot loop and of what is called; nothing without one."""
    if listing is None:
        return {}
    facts: Facts = {
        "profile.gather_count": listing.gathers,
        "profile.calls_libm_exp": sum(n for name, n in listing.calls.items() if re.search(r"exp2?f?$", name)) > 0,
        "profile.openmp": any(name.startswith("GOMP_parallel") for name in listing.calls),
    }
    spot = hotspots.hottest(found)
    if (hot := spot.loop if spot else next(iter(listing.loops), None)) is not None:
        facts |= _loop_facts(hot)
    if spot and spot.share is not None:
        facts["profile.hot_share"] = round(spot.share, 3)
    return facts


def _loop_facts(hot: Loop) -> Facts:
    return {
        "profile.vector_bits": hot.vector_bits,
        "profile.fma_share": round(hot.fma_share, 3),
        "profile.spills": hot.spills,
    }


def counter_facts(seen: Watched) -> Facts:
    """Hardware counters over all configurations; nothing where the machine shows none."""
    total: Counter[str] = Counter()
    for measured in seen.measured:
        total.update({name: int(value) for name, value in measured.counts.items()})
    facts: Facts = {}
    if total["cycles"] and total["instructions"]:
        facts["profile.instructions_per_cycle"] = round(total["instructions"] / total["cycles"], 3)
    for name in ("l1_misses", "cache_misses", "tlb_misses", "branch_misses"):
        if (rate := per_thousand(total, name)) is not None and any(name in m.counts for m in seen.measured):
            facts[f"profile.{name}_per_1000"] = round(rate, 3)
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
    """Speed-up from one thread to all, per thread, on the problem's cheapest configuration."""
    threads = bench.judge.threads
    if threads < 2:
        return {}
    shape = min(bench.judge.problem.configurations, key=lambda c: c.unmasked_flops)
    latency = {}
    for count in (1, threads):
        worker = bench.device.start(built, bench.children, threads=count)
        try:
            calls = _latencies_us(bench, worker, shape, options)
            latency[count] = quantile(calls[1:] or calls)
        finally:
            worker.close()
    return {"score.parallel_efficiency": round(latency[1] / latency[threads] / threads, 3)}


def _text(
    bench: Bench,
    flags: tuple[str, ...],
    facts: Facts,
    seen: Watched,
    listing: Listing | None,
    found: list[Spot],
    told: list[remarks.Remark],
) -> str:
    peak, memory = float(facts["machine.peak_gflops"]), float(facts["machine.memory_gb_s"])
    lines = [
        f"machine    {machine.device(bench.judge.threads)}; measured here: {peak:.0f} GFLOPS (float32 FMA), "
        f"{memory:.0f} GB/s (copy)",
        f"compiler   {bench.device.toolchain.version}",
        f"flags      {' '.join(flags)}",
        "",
        *_table(seen, peak, memory),
        "",
        *(f"{name:<32}{value}" for name, value in facts.items() if not name.startswith("machine.")),
        "",
    ]
    lines += hotspots.text(found, len(seen.places), seen.clock, seen.unsampled)
    if listing is None:
        lines += ["", "no disassembly: objdump (binutils) is not installed"]
    elif not listing.loops:
        lines += ["", "no floating-point loop in the disassembly (only x86-64 code is read)"]
    return "\n".join([*lines, "", *remarks.text(told, hotspots.source_lines(found))])


def _table(seen: Watched, peak: float, memory: float) -> list[str]:
    """One line for each configuration: achieved, its roofline, and what the processor counted."""
    counted = [name for name in COLUMNS if any(name in m.counts for m in seen.measured)]
    head = f"{'configuration':<16}{'GFLOPS':>9}{'roofline':>10}{'of it':>8}{'bound by':>10}{'cores':>7}{'faults':>8}"
    lines = [head + "".join(f"{COLUMNS[name]:>11}" for name in counted)]
    for m in seen.measured:
        slope = memory * m.shape.flops / _least_bytes(m.shape)
        roof, bound = (peak, "compute") if peak <= slope else (slope, "memory")
        figures = [_figure(m.busy), _figure(m.counts.get("page_faults"), 0)]
        rates = [_figure(_column(m.counts, name)) for name in counted]
        cells = f"{m.gflops:>9.1f}{roof:>10.0f}{m.gflops / roof:>8.1%}{bound:>10}{figures[0]:>7}{figures[1]:>8}"
        lines.append(f"{m.shape.name:<16}{cells}" + "".join(f"{rate:>11}" for rate in rates))
    lines.append("roofline: the peak, or memory speed with q, k, v and o moved once; cores: processors busy, waiting")
    lines.append("by spinning included; faults: page faults in a call; misses (where shown) per 1000 instructions")
    return [*lines, *([f"hardware counters: none: {seen.absent}"] if seen.absent else [])]


def _column(counts: Mapping[str, float], name: str) -> float | None:
    if name != "cycles":
        return per_thousand(counts, name)
    return counts["instructions"] / counts["cycles"] if counts.get("cycles") and "instructions" in counts else None


def _figure(value: float | None, digits: int = 2) -> str:
    return "-" if value is None else f"{value:.{digits}f}"


def _least_bytes(shape: Configuration) -> float:
    return 2.0 * (shape.query_elements + shape.key_elements) * DTYPES["float32"]
