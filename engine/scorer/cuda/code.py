"""What nvcc made of a candidate: ptxas' report and the machine code's mix. Needs no device and no torch;
loops.py tells the loops of that code.

One rule: everything here is read from the compiler's words and from the binary; what cannot be had is left out.
"""

from __future__ import annotations

import collections
import re
import shutil
from pathlib import Path

from engine.scorer.children import Children
from engine.scorer.examine import NAME, examine

Facts = dict[str, float | bool | str]

# What an instruction is for, by the beginning of its SASS name (CUDA Binary Utilities, Hopper instruction set).
CLASSES = {
    "wgmma": ("HGMMA",),
    "tensor_core": ("HMMA", "UTCHMMA", "UTCQMMA", "IMMA", "QGMMA"),
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


def machine_code(library: Path, children: Children, cache: Path) -> str | None:
    """The library's machine code as cuobjdump lists it, or None without cuobjdump."""
    path = found("cuobjdump")
    return None if path is None else examine([path, "--dump-sass", NAME], library, children, cache)


def found(tool: str) -> str | None:
    """A tool of the CUDA toolkit, on PATH or where the toolkit lies."""
    return shutil.which(tool) or shutil.which(tool, path="/usr/local/cuda/bin:/opt/cuda/bin")


def classify(sass: str) -> dict[str, int]:
    """Count a SASS listing's instructions by class."""
    counts: collections.Counter[str] = collections.Counter()
    for line in sass.splitlines():
        if match := _SASS.match(line):
            name = match[1]
            counts[next((c for c, begins in CLASSES.items() if name.startswith(begins)), "other")] += 1
    return dict(counts)


def code_facts(kernels: dict[str, dict[str, int]], mix: dict[str, int] | None) -> Facts:
    """Facts for the playbook and the agent: registers, spills, and shares of the instructions."""
    facts: Facts = {}
    if kernels:
        facts["profile.registers"] = max(k["registers"] for k in kernels.values())
        facts["profile.spills"] = max(k["spill_bytes"] for k in kernels.values())
    if mix:
        total = sum(mix.values())
        facts.update({f"profile.{name}_share": round(count / total, 4) for name, count in mix.items()})
        facts["profile.wgmma"] = mix.get("wgmma", 0) > 0
        facts["profile.tensor_core_share"] = round((mix.get("wgmma", 0) + mix.get("tensor_core", 0)) / total, 4)
    return facts


def code_text(kernels: dict[str, dict[str, int]], mix: dict[str, int] | None) -> list[str]:
    """Lines for reading: one for each kernel, then the instructions by class."""
    lines = [
        f"{'kernel':<48}{'registers':>10}{'shared B':>10}{'spill B':>9}",
        *(
            f"{short_name(name)[:46]:<48}{k['registers']:>10}{k['shared_bytes']:>10}{k['spill_bytes']:>9}"
            for name, k in kernels.items()
        ),
        "",
    ]
    if mix is None:
        return [*lines, "no machine code: cuobjdump (CUDA toolkit) is not installed, or could not read it"]
    total = sum(mix.values())
    counts = sorted(mix.items(), key=lambda kv: -kv[1])
    return [*lines, "machine instructions (static)", *(f"{n:<20}{c:>7}{c / total:>8.1%}" for n, c in counts)]


def short_name(mangled: str) -> str:
    """A kernel's own name with its literal template arguments: `attention_kernel<1>` (Itanium C++ ABI, 5.1)."""
    rest, name = mangled.removeprefix("_ZN") if mangled.startswith("_ZN") else mangled.removeprefix("_Z"), ""
    while match := re.match(r"(\d+)", rest):
        begin, size = match.end(), int(match[1])
        name, rest = rest[begin : begin + size], rest[begin + size :]
    if not name:
        return mangled
    values = re.match(r"I((?:L[a-z]n?\d+E)+)E", rest)
    literals = re.findall(r"L[a-z](n?\d+)E", values[1]) if values else []
    return f"{name}<{', '.join(v.replace('n', '-') for v in literals)}>" if literals else name
