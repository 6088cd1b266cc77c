"""Build one candidate in the sandbox, with the system's compiler, into the content-addressed cache.

One rule: the compiler sees the toolchain, the intake copy and the problem's header, never the candidate's folder. The
flags are the problem's, plus those of the candidate's flags.txt that the problem allows.
"""

from __future__ import annotations

import json
import os
import stat
import time
from collections.abc import Callable
from pathlib import Path

from engine.record.errors import ScorerError
from engine.record.frozen import dataclass
from engine.scorer import remarks, sandbox
from engine.scorer import toolchain as tools
from engine.scorer.children import Children
from engine.scorer.failure import fail
from engine.scorer.intake import Candidate
from engine.scorer.problem import Problem
from engine.scorer.text import clean, one_line
from engine.scorer.toolchain import Toolchain

MAX_LIBRARY_BYTES = 64 << 20
SAID_AT_ONCE = 8_000


@dataclass(frozen=True, slots=True)
class Built:
    """A loadable library, how long its build took (0 from the cache), what the compiler said, and its remarks."""

    library: Path
    seconds: float
    log: str
    remarks: str
    cached: bool


def build(
    candidate: Candidate,
    problem: Problem,
    toolchain: Toolchain,
    children: Children,
    *,
    timeout_s: float,
    heard: Callable[[str], None] | None = None,
) -> Built:
    """Compile and link a candidate. Raises CandidateFailed, stage build or timeout.

    `heard` gets what the compiler says beside its remarks, line by line, while it works.
    """
    header = problem.header.read_bytes() if problem.header.exists() else b""
    flags = (*problem.build.flags, *candidate.flags, *toolchain.linking, *toolchain.telling)
    key = toolchain.key(candidate.hash, header, *flags)
    library, notes = toolchain.cache / f"candidate-{key}.so", toolchain.cache / f"candidate-{key}.json"
    if library.exists() and notes.exists():
        return _built(library, 0.0, str(json.loads(notes.read_text("utf-8"))["log"]), cached=True)
    begin = time.monotonic()
    with tools.temporary(toolchain.cache) as folder:
        log = _compile(candidate, header, folder, (*flags,), problem, toolchain, children, timeout_s, heard)
        _publish(folder / "out" / "candidate.so", folder / "library", library, log)
        (folder / "notes").write_text(json.dumps({"log": log, "flags": flags}), "utf-8")
        (folder / "notes").rename(notes)
    return _built(library, time.monotonic() - begin, log, cached=False)


def _built(library: Path, seconds: float, said: str, *, cached: bool) -> Built:
    sieve = remarks.Sieve()
    return Built(library, seconds, sieve(said), sieve.remarks, cached)


def _compile(
    candidate: Candidate,
    header: bytes,
    folder: Path,
    flags: tuple[str, ...],
    problem: Problem,
    toolchain: Toolchain,
    children: Children,
    timeout_s: float,
    heard: Callable[[str], None] | None,
) -> str:
    sources, output = folder / "in", folder / "out"
    folder.chmod(0o711)  # the sandbox's uid passes, and sees nothing
    sources.mkdir(mode=0o755)
    output.mkdir(mode=0o700)
    sandbox.give(children.sandbox, output)
    for name, data in {"avo_abi.h": header, **candidate.files}.items():
        (sources / name).write_bytes(data)
    target = str(sandbox.build_output(children.sandbox, output) / "candidate.so")
    argv = [toolchain.compiler, *flags, "-I.", *candidate.sources(problem.language), "-o", target]
    job = sandbox.build_job(children.sandbox, argv, sources, output, cpu_s=int(timeout_s) + 5)
    done = children.run(
        job.argv,
        env=job.env,
        cwd=Path(job.cwd),
        pass_fds=job.pass_fds,
        timeout_s=timeout_s,
        limit=1 << 20,
        heard=_by_line(heard) if heard is not None else None,
    )
    log = clean(done.output)
    told = remarks.Sieve()(log)
    if done.timed_out:
        raise fail("timeout", f"the build took longer than {timeout_s:g} s and was stopped", log=told)
    if log.startswith(("bwrap: ", "confine: ")):
        raise ScorerError(f"the sandbox did not start the compiler: {one_line(log)}")
    if done.code != 0:
        raise fail("build", one_line(told) or f"the compiler ended with status {done.code}", log=told)
    return log


def _by_line(heard: Callable[[str], None]) -> Callable[[bytes], None]:
    """Hands over whole lines only, cleaned, without remarks: an escape sequence may come in two pieces."""
    waiting, sieve = bytearray(), remarks.Sieve()

    def take(data: bytes) -> None:
        waiting.extend(data)
        if end := waiting.rfind(b"\n") + 1:
            if told := sieve(clean(bytes(waiting[:end]), SAID_AT_ONCE)):
                heard(told)
            del waiting[:end]

    return take


def _publish(output: Path, copy: Path, library: Path, log: str) -> None:
    """Take the compiler's output over: a plain file of sane size, read without following a link, ours from now on."""
    try:
        fd = os.open(output, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        raise fail("build", f"the compiler left no library: {error.strerror}", log=log) from error
    found = os.fstat(fd)
    if not stat.S_ISREG(found.st_mode) or found.st_size > MAX_LIBRARY_BYTES:
        os.close(fd)
        raise fail("build", f"the library is not a plain file of at most {MAX_LIBRARY_BYTES >> 20} MiB", log=log)
    with os.fdopen(fd, "rb") as file:
        copy.write_bytes(file.read(MAX_LIBRARY_BYTES))
    copy.chmod(0o755)
    copy.rename(library)
