"""Every direction of the CUDA playbooks compiles for Hopper, without spills: `pytest -m soak tests/scorer/cuda`.

No device is needed. A direction that is kept because it failed in the compiler says so in NOT_CLEAN.
"""

import shutil
from pathlib import Path

import pytest

from engine.data import kernels_directory
from engine.operators.playbook import catalogue, edits

NOT_CLEAN = {  # kept as a record of what the compiler made of them
    "q-registers-again": "spills and serialised wgmma",
    "registers-24-240": "the producer spills",
    "split-24-240": "the producer spills",
}
# Directions that edit the incumbent, on the stage that their `requires` asks for.
BASES = {"mha_cuda": "mha_cuda/playbook/39-rounded-sums", "gqa_cuda": "gqa_cuda/playbook/01-from-mha"}
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


def sources_after(name: str, direction: catalogue.Direction) -> dict[str, str]:
    """The candidate's files once the direction was applied to where it starts from."""
    folder = kernels_directory() / BASES[name]
    base = {p.name: p.read_text() for p in folder.iterdir() if p.suffix in (".cu", ".cuh")}
    edited = edits.apply(base, direction.edits)
    assert edited.sources, edited.reason
    return dict(edited.sources)


@pytest.mark.parametrize(("name", "direction"), DIRECTIONS)
def test_a_direction_compiles_for_hopper_without_spills(name, direction, scorer, tmp_path: Path):
    for file, text in sources_after(name, direction).items():
        (tmp_path / file).write_text(text)
    scorer.send(
        op="build", source=tmp_path, problem=kernels_directory() / name, architecture="90a", build_timeout_s=BUILD_S
    )
    answer = scorer.next(timeout_s=BUILD_S)
    assert answer["event"] == "result", answer
    made = answer["result"]
    assert made["built"], made["log"]
    print(f"{direction.id}: {made['facts']['profile.registers']:.0f} registers, {made['seconds']:.0f} s")
    if direction.id not in NOT_CLEAN:
        assert made["facts"]["profile.spills"] == 0
        assert "C75" not in made["log"], "ptxas serialised wgmma"
