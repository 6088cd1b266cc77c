"""The compiler, the cache and the scorer's own C programs.

One rule: everything in the cache is named by the hash of all that went into it, is written under a temporary name and
renamed, and is never written by a candidate.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
import subprocess
import tempfile
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from engine.record.errors import ScorerError
from engine.scorer import remarks
from engine.scorer.text import one_line

_HERE = Path(__file__).resolve().parent
RUNTIME = (
    "ld-linux-x86-64.so.2",
    "ld-linux-aarch64.so.1",
    "libc.so.6",
    "libm.so.6",
    "libmvec.so.1",
    "libpthread.so.0",
    "libdl.so.2",
    "librt.so.1",
    "libgcc_s.so.1",
    "libstdc++.so.6",
    "libgomp.so.1",
    "libatomic.so.1",
    "libomp.so",
    "libomp.so.5",
)
POSERS = ("ccache", "distcc", "icecc", "sccache")
COMPILERS = ("g++", "c++", "clang++")
SPACE_BYTES = 64 << 20


@dataclass(frozen=True, slots=True)
class Toolchain:
    """A compiler (absolute path), what it calls itself, the machine it builds for, and the cache directory.

    `linking` are the flags that make it produce a library for that machine, `telling` those that make it say more and
    leave its code as it is (remarks.py).
    """

    compiler: str
    version: str
    machine: str
    cache: Path
    linking: tuple[str, ...] = ("-fPIC", "-shared")
    telling: tuple[str, ...] = ()

    def key(self, *parts: bytes | str) -> str:
        """Name of a cache entry: 32 hex digits over the compiler, the machine and `parts`."""
        digest = hashlib.sha256()
        for part in (self.compiler, self.version, self.machine, *parts):
            raw = part.encode() if isinstance(part, str) else part
            digest.update(len(raw).to_bytes(8, "little") + raw)
        return digest.hexdigest()[:32]


@cache
def find(cache_directory: Path | None = None) -> Toolchain:
    """The system's C++ compiler. Raises ScorerError when there is none."""
    path = next((p for name in COMPILERS if (p := _located(name))), None)
    if path is None:
        raise ScorerError(
            "no C++ compiler (g++, c++ or clang++) on PATH; install one, for example: apt-get install g++"
        )
    out = subprocess.run([path, "--version"], capture_output=True, text=True, env=environment(), timeout=30)
    version = out.stdout.splitlines()[0] if out.stdout else "unknown"
    return Toolchain(path, version, _machine(), _cache(cache_directory), telling=remarks.flags(version))


def _located(name: str) -> str | None:
    """A program on PATH at its own place: links to the same name are followed, and caches that pose as it skipped."""
    for folder in os.get_exec_path():
        found = shutil.which(name, path=folder)
        if found is None:
            continue
        path = Path(found).absolute()
        while path.is_symlink() and Path(path.readlink()).name == name:
            path = path.parent / path.readlink()
        if path.resolve().name not in POSERS:
            return str(path.parent.resolve() / path.name)
    return None


def environment() -> dict[str, str]:
    """The environment of every compiler: nothing of ours, nothing that steers it (CPATH, LD_PRELOAD, ...)."""
    return {"PATH": "/usr/local/bin:/usr/bin:/bin", "LC_ALL": "C", "TMPDIR": "/tmp"}  # noqa: S108


@cache
def libraries(compiler: str) -> tuple[Path, ...]:
    """The shared libraries that a candidate may use: the language's own runtime, and nothing else of the machine."""
    found = []
    for name in RUNTIME:
        done = subprocess.run(
            [compiler, f"-print-file-name={name}"], capture_output=True, text=True, env=environment(), timeout=30
        )
        path = Path(done.stdout.strip())
        if path.is_absolute() and path.exists():
            found.append(path.parent.resolve() / path.name)
    return tuple(dict.fromkeys(found))


def own_program(toolchain: Toolchain, *names: str, flags: tuple[str, ...]) -> Path:
    """Build one of the scorer's own C programs (sources beside this file) into the cache, once. Returns its path."""
    sources = [(_HERE / part).read_bytes() for part in (*names, "seccomp.h")]
    target = toolchain.cache / f"{Path(names[0]).stem}-{toolchain.key(*sources, *flags)}"
    if target.exists():
        return target
    with temporary(toolchain.cache) as folder:
        parts = [part for name in names for part in ("-x", "c", str(_HERE / name))]
        argv = [toolchain.compiler, *flags, *parts, "-o", str(folder / "out"), "-ldl", "-pthread"]
        done = subprocess.run(argv, capture_output=True, text=True, env=environment(), timeout=120)
        if done.returncode != 0:
            raise ScorerError(f"{names[0]} does not build with {toolchain.compiler}: {one_line(done.stderr)}")
        (folder / "out").chmod(0o755)
        (folder / "out").rename(target)
    return target


def runner(toolchain: Toolchain) -> Path:
    """The worker program."""
    return own_program(toolchain, "runner.c", flags=("-O2", "-Wall"))


def launcher(toolchain: Toolchain) -> Path:
    """The program that locks itself in and becomes another."""
    return own_program(toolchain, "confine.c", flags=("-O2", "-Wall"))


def probe(toolchain: Toolchain) -> Path:
    """The program that attacks a sandbox from inside."""
    return own_program(toolchain, "probe.c", flags=("-O2", "-Wall"))


def hands(toolchain: Toolchain) -> Path:
    """The judge's library. Its arithmetic is as written: no flag here lets the compiler reorder or approximate it."""
    names = ("hands.c", "inputs.c", "exact.c", "near.c")
    as_written = ("-fno-math-errno", "-fno-trapping-math", "-fno-signed-zeros")
    return own_program(toolchain, *names, flags=("-O3", "-march=native", *as_written, "-fPIC", "-shared"))


class temporary(contextlib.AbstractContextManager[Path]):
    """A private folder inside the cache, on the same filesystem, so that a rename publishes what was built there."""

    def __init__(self, cache_directory: Path) -> None:
        self._path = Path(tempfile.mkdtemp(prefix="tmp-", dir=cache_directory))

    def __enter__(self) -> Path:
        return self._path

    def __exit__(self, *_: object) -> None:
        shutil.rmtree(self._path, ignore_errors=True)


def _cache(chosen: Path | None) -> Path:
    path = chosen or default_cache()
    try:
        path.mkdir(parents=True, exist_ok=True, mode=0o755)
        with temporary(path):
            return path
    except OSError as error:
        raise ScorerError(f"{path}: {error.strerror}; the build cache must be writable (AVO_CACHE moves it)") from error


def require_space(cache: Path) -> None:
    """Raise ScorerError when the cache's disk has no room for a build: a full disk is not the candidate's failure."""
    cache.mkdir(parents=True, exist_ok=True, mode=0o755)
    found = os.statvfs(cache)
    if (free := found.f_bavail * found.f_frsize) < SPACE_BYTES:
        raise ScorerError(
            f"{cache}: {free >> 20} MiB free, a build needs {SPACE_BYTES >> 20}; free some space, or point AVO_CACHE "
            "to a disk that has it"
        )


def default_cache() -> Path:
    """Where builds are kept. Root's cache lies where an unprivileged worker can reach it, unlike root's home."""
    if chosen := os.environ.get("AVO_CACHE"):
        return Path(chosen)
    if os.geteuid() == 0:
        return Path("/var/cache/avo")
    home = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    return Path(home) / "avo"


def _machine() -> str:
    """What -march=native depends on: the processor's model and feature flags."""
    try:
        text = Path("/proc/cpuinfo").read_text("utf-8", "replace")
    except OSError:
        return os.uname().machine
    lines = [ln for ln in text.splitlines() if ln.startswith(("model name", "flags", "Features", "CPU part"))]
    return hashlib.sha256("\n".join(sorted(set(lines))).encode()).hexdigest()
