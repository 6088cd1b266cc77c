"""Build one candidate with the system's C++ compiler, into the content-addressed cache.

One rule: the compiler sees the intake copy and the problem's header, never the candidate's folder. The flags are the
problem's, plus those of the candidate's flags.txt that the problem allows.
"""

from __future__ import annotations

import json
import time
from dataclasses import dataclass
from pathlib import Path

from engine.scorer import toolchain as tools
from engine.scorer.children import Children
from engine.scorer.failure import fail
from engine.scorer.intake import Candidate
from engine.scorer.problem import Problem
from engine.scorer.text import clean, one_line
from engine.scorer.toolchain import Toolchain

REMARKS = ("-fopt-info-vec-optimized", "-fopt-info-vec-missed")


@dataclass(frozen=True, slots=True)
class Built:
    """A loadable library, how long its build took (0 from the cache), and what the compiler said."""

    library: Path
    seconds: float
    log: str
    cached: bool


def build(
    candidate: Candidate, problem: Problem, toolchain: Toolchain, children: Children, *, timeout_s: float
) -> Built:
    """Compile and link a candidate. Raises CandidateFailed, stage build or timeout."""
    header = problem.header.read_bytes() if problem.header.exists() else b""
    flags = (*problem.build.flags, *candidate.flags, *toolchain.linking)
    key = toolchain.key(candidate.hash, header, *flags)
    library, notes = toolchain.cache / f"candidate-{key}.so", toolchain.cache / f"candidate-{key}.json"
    if library.exists() and notes.exists():
        return Built(library, 0.0, str(json.loads(notes.read_text("utf-8"))["log"]), cached=True)
    begin = time.monotonic()
    with tools.temporary(toolchain.cache) as folder:
        log = _compile(candidate, header, folder, (*flags,), problem, toolchain, children, timeout_s)
        out = folder / "candidate.so"
        out.chmod(0o755)
        out.rename(library)
        (folder / "notes").write_text(json.dumps({"log": log, "flags": flags}), "utf-8")
        (folder / "notes").rename(notes)
    return Built(library, time.monotonic() - begin, log, cached=False)


def remarks(
    candidate: Candidate, problem: Problem, toolchain: Toolchain, children: Children, *, timeout_s: float
) -> str:
    """What the compiler says of vectorisation, in the candidate's own lines."""
    header = problem.header.read_bytes() if problem.header.exists() else b""
    flags = (*problem.build.flags, *candidate.flags, *toolchain.linking, *REMARKS)
    with tools.temporary(toolchain.cache) as folder:
        log = _compile(candidate, header, folder, flags, problem, toolchain, children, timeout_s)
    own = tuple(candidate.files)
    return "\n".join(line for line in log.splitlines() if line.startswith(own))


def _compile(
    candidate: Candidate,
    header: bytes,
    folder: Path,
    flags: tuple[str, ...],
    problem: Problem,
    toolchain: Toolchain,
    children: Children,
    timeout_s: float,
) -> str:
    for name, data in {"avo_abi.h": header, **candidate.files}.items():
        (folder / name).write_bytes(data)
    argv = [toolchain.compiler, *flags, "-I.", *candidate.sources(problem.language), "-o", "candidate.so"]
    done = children.run(argv, cwd=folder, env=tools.environment(), timeout_s=timeout_s, limit=1 << 20)
    log = clean(done.output)
    if done.timed_out:
        raise fail("timeout", f"the build took longer than {timeout_s:g} s and was stopped", log=log)
    if done.code != 0:
        reason = one_line(log) or f"the compiler ended with status {done.code}"
        raise fail("build", reason, log=log)
    return log
