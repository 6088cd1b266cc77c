"""Every direction of the CUDA playbooks compiles for Hopper, without spills: `pytest -m soak tests/scorer/cuda`.

No device is needed. A direction that is kept because it failed in the compiler says so in NOT_CLEAN.
"""

import shutil
import tempfile
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

from engine import archive
from engine.data import kernels_directory
from engine.lineage import Lineage
from engine.operators.playbook import catalogue, edits
from engine.record.run import RunFolder

NOT_CLEAN = {  # kept as a record of what the compiler made of them
    "q-registers-again": "spills and serialised wgmma",
    "registers-24-240": "the producer spills",
    "split-24-240": "the producer spills",
}
# What directions that edit the incumbent may meet: each is built on every one of these that its `requires` allows.
BASES = {
    "mha_cuda": (
        "mha_cuda/playbook/36-causal-turns",
        "mha_cuda/playbook/40-pairs",
        "mha_cuda/lineages/h200-1122@14",
        "mha_cuda/best",
    ),
    "gqa_cuda": (
        "gqa_cuda/playbook/01-from-mha",
        "mha_cuda/playbook/40-pairs",
        "gqa_cuda/playbook/09-pairs",
        "gqa_cuda/best",
    ),
}
DIRECTIONS = [
    pytest.param(name, direction, id=f"{name}-{direction.id}")
    for name in BASES
    for direction in catalogue.load(kernels_directory() / name / "playbook").directions
]
BUILD_S = 500.0
pytestmark = [
    pytest.mark.soak,
    pytest.mark.timeout(600),
    pytest.mark.skipif(shutil.which("nvcc") is None, reason="nvcc is not on this machine"),
]


def candidates(name: str, direction: catalogue.Direction) -> Iterator[dict[str, str]]:
    """The candidate's files once the direction was applied, for each base that it may meet."""
    bases = [{}] if all(isinstance(e, edits.File) for e in direction.edits) else [*map(files, BASES[name])]
    for base in bases:
        text = "\n".join(base.values())
        wanted = all(p.search(text) for p in direction.requires.contains)
        if not base or (wanted and not any(p.search(text) for p in direction.requires.lacks)):
            edited = edits.apply(base, direction.edits)
            assert edited.sources, edited.reason
            yield edited.sources


@cache
def files(place: str) -> dict[str, str]:
    """Sources of a folder, or of a version of a shipped lineage (FOLDER@N)."""
    folder, _, version = place.partition("@")
    if version:
        with tempfile.TemporaryDirectory() as scratch:
            run = RunFolder(archive.unpack(kernels_directory() / folder, Path(scratch)).path)
            kept = Lineage(run.lineage).files(int(version))
        return {name: data.decode() for name, data in kept.items()}
    return {p.name: p.read_text() for p in (kernels_directory() / place).iterdir() if p.suffix in (".cu", ".cuh")}


@pytest.mark.parametrize(("name", "direction"), DIRECTIONS)
def test_a_direction_compiles_for_hopper_without_spills(name, direction, scorer, tmp_path: Path):
    built = 0
    for sources in candidates(name, direction):
        for file, text in sources.items():
            (tmp_path / file).write_text(text)
        problem = kernels_directory() / name
        scorer.send(op="build", source=tmp_path, problem=problem, architecture="90a", build_timeout_s=BUILD_S)
        answer = scorer.next(timeout_s=BUILD_S)
        assert answer["event"] == "result", answer
        made, built = answer["result"], built + 1
        assert made["built"], made["log"]
        print(f"{direction.id}: {made['facts']['profile.registers']:.0f} registers, {made['seconds']:.0f} s")
        if direction.id not in NOT_CLEAN:
            assert made["facts"]["profile.spills"] == 0
            assert "C75" not in made["log"], "ptxas serialised wgmma"
    assert built, "there is no base that it applies to"
