"""Build a candidate and look at its machine code, on a machine that need not have the device.

One rule: nothing of the candidate is run; what is said comes from the compiler and from the binary.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

from engine.record.errors import UsageError
from engine.scorer import intake
from engine.scorer import toolchain as tools
from engine.scorer.build import build
from engine.scorer.children import Children
from engine.scorer.failure import CandidateFailed
from engine.scorer.problem import Problem
from engine.scorer.toolchain import Toolchain

# What is built for where no device answers: the architecture that the shipped kernels are tuned for.
DEFAULT_ARCHITECTURE = "90a"


def compiled(problem: Problem, source: Path, children: Children, architecture: str, timeout_s: float) -> dict[str, Any]:
    """{"built", "stage", "reason", "machine", "text", "facts", "log", ...}; nothing is checked or timed."""
    begin, toolchain = time.monotonic(), _toolchain(problem, architecture)
    result: dict[str, Any] = {
        "problem": problem.name, "built": False, "stage": "ok", "reason": "", "machine": _machine(problem, toolchain),
        "compiler": toolchain.version, "source_hash": "", "text": "", "facts": {}, "log": "",
    }  # fmt: skip
    try:
        candidate = intake.take(source, problem)
        result["source_hash"] = candidate.hash
        made = build(candidate, problem, toolchain, children, timeout_s=timeout_s)
    except CandidateFailed as failed:
        why = {"stage": failed.failure.stage, "reason": failed.failure.reason, "log": failed.log}
        return {**result, **why, "seconds": time.monotonic() - begin}
    if problem.device == "cuda":
        facts, lines = _cuda(made.log, made.library, children, toolchain)
    else:
        facts, lines = _cpu(made.library, children, toolchain)
    head = [f"machine    {result['machine']}", f"compiler   {toolchain.version}", ""]
    found = {"built": True, "text": "\n".join([*head, *lines]), "facts": facts, "log": made.log}
    return {**result, **found, "seconds": time.monotonic() - begin}


def _toolchain(problem: Problem, architecture: str) -> Toolchain:
    if problem.device != "cuda":
        if architecture:
            raise UsageError(f"{problem.name}: an architecture is named for CUDA problems only")
        return tools.find()
    from engine.scorer.cuda import toolchain as cuda

    return cuda.find(architecture.removeprefix("sm_") or _device_architecture() or DEFAULT_ARCHITECTURE)


def _device_architecture() -> str | None:
    """This machine's own device, when torch sees one."""
    try:
        import torch
    except ImportError:
        return None
    from engine.scorer.cuda import toolchain as cuda

    return cuda.architecture(torch.cuda.get_device_capability()) if torch.cuda.is_available() else None


def _machine(problem: Problem, toolchain: Toolchain) -> str:
    return toolchain.machine if problem.device == "cuda" else "this machine's processor"


def _cuda(log: str, library: Path, children: Children, toolchain: Toolchain) -> tuple[dict[str, Any], list[str]]:
    from engine.scorer.cuda.code import classify, code_facts, code_text, machine_code, ptxas_report
    from engine.scorer.cuda.loops import loops_text, matrix_loops

    kernels, sass = ptxas_report(log), machine_code(library, children, toolchain.cache)
    mix = None if sass is None else classify(sass)
    loops = [] if sass is None else ["", *loops_text(matrix_loops(sass))]
    return dict(code_facts(kernels, mix)), [*code_text(kernels, mix), *loops]


def _cpu(library: Path, children: Children, toolchain: Toolchain) -> tuple[dict[str, Any], list[str]]:
    from engine.scorer import hotspots
    from engine.scorer.assembly import disassemble
    from engine.scorer.profile import code_facts

    listing = disassemble(library, children, toolchain.cache)
    if listing is None:
        return {}, ["no listing: objdump (binutils) is not installed"]
    return dict(code_facts(listing)), hotspots.text(hotspots.spots(listing, ()), 0, "", "nothing was run")
