"""nvcc, the architecture it builds for, and the CUDA worker program."""

from __future__ import annotations

import re
import shutil
import subprocess
from functools import cache
from pathlib import Path

from engine.record.errors import ScorerError, UsageError
from engine.scorer import toolchain as tools
from engine.scorer.text import one_line
from engine.scorer.toolchain import Toolchain

_HERE = Path(__file__).resolve().parent
_PLACES = ("/usr/local/cuda/bin/nvcc", "/opt/cuda/bin/nvcc")


@cache
def find(architecture: str, places: tuple[str, ...] = _PLACES) -> Toolchain:
    """nvcc on PATH, else in `places`, for one architecture ("90a"). Raises ScorerError when there is none."""
    if not re.fullmatch(r"\d{2,3}[af]?", architecture):
        raise UsageError(f"architecture {architecture!r} is none; write 80, 90a or sm_100a")
    path = shutil.which("nvcc") or next((p for p in places if Path(p).is_file()), None)
    if path is None:
        raise ScorerError("no nvcc on PATH; install the CUDA toolkit, for example: apt-get install nvidia-cuda-toolkit")
    out = subprocess.run([path, "--version"], capture_output=True, text=True, env=tools.environment(), timeout=60)
    version = next((line for line in out.stdout.splitlines() if "release" in line), "unknown")
    target = f"-gencode=arch=compute_{architecture},code=sm_{architecture}"
    linking = (target, "-shared", "-Xcompiler=-fPIC")
    return Toolchain(path, version, f"sm_{architecture}", tools.find().cache, linking)


def architecture(capability: tuple[int, int]) -> str:
    """What to build for: the device's own architecture, with its "a" features from Hopper on."""
    major, minor = capability
    return f"{major}{minor}" + ("a" if major >= 9 else "")


def runner(toolchain: Toolchain) -> Path:
    """The CUDA worker program, built once."""
    return _program("runner", toolchain)


def alone(toolchain: Toolchain) -> Path:
    """The program that launches one candidate for a profiler, built once."""
    return _program("alone", toolchain)


def _program(name: str, toolchain: Toolchain) -> Path:
    source = (_HERE / f"{name}.cu").read_bytes()
    target = toolchain.cache / f"{name}-cuda-{toolchain.key(source)}"
    if target.exists():
        return target
    with tools.temporary(toolchain.cache) as folder:
        argv = [toolchain.compiler, "-O2", "-std=c++17", str(_HERE / f"{name}.cu"), "-o", str(folder / "out"), "-ldl"]
        done = subprocess.run(argv, capture_output=True, text=True, env=tools.environment(), timeout=300)
        if done.returncode != 0:
            raise ScorerError(f"{name}.cu does not build with {toolchain.compiler}: {one_line(done.stderr)}")
        (folder / "out").chmod(0o755)
        (folder / "out").rename(target)
    return target
