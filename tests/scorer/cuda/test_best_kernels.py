"""The kernels shipped to be read and taken along: each is its lineage's best version, unchanged, and it compiles."""

import json
import shutil
from pathlib import Path

import git
import pytest

from engine.data import kernels_directory

BEST = sorted(folder for folder in kernels_directory().glob("*_cuda/best") if folder.is_dir())
FILES = ("attention.cu", "hopper.cuh")


def versions(lineage: Path, place: Path) -> list[git.Commit]:
    """Every version in a shipped lineage's bundle."""
    return list(git.Repo.clone_from(str(lineage / "lineage.bundle"), place, bare=True).iter_commits("--all"))


def blob(commit: git.Commit, name: str) -> bytes:
    return bytes((commit.tree / name).data_stream.read())


def test_there_is_a_best_kernel():
    assert kernels_directory() / "mha_cuda" / "best" in BEST


@pytest.mark.parametrize("best", BEST, ids=lambda p: p.parent.name)
def test_the_best_kernel_is_the_fastest_version_of_the_lineage_it_names(best, tmp_path):
    lineages = best.parent / "lineages"
    named = [
        lineage
        for lineage in sorted(lineages.iterdir())
        if f"lineages/{lineage.name}" in (best / "README.md").read_text()
    ]
    assert len(named) == 1, "README.md names the lineage that it comes from"
    fastest = max(
        versions(named[0], tmp_path / "bundle"), key=lambda c: json.loads(blob(c, "score.json"))["geomean_tflops"]
    )
    assert {name: (best / name).read_bytes() for name in FILES} == {name: blob(fastest, name) for name in FILES}
    assert (
        f"geomean {json.loads(blob(fastest, 'score.json'))['geomean_tflops']:.1f}" in (best / "README.md").read_text()
    )


@pytest.mark.skipif(shutil.which("nvcc") is None, reason="nvcc is not on this machine")
@pytest.mark.parametrize("best", BEST, ids=lambda p: p.parent.name)
def test_the_best_kernel_compiles_without_spills(best, scorer):
    made = scorer.ask(op="build", source=best, problem=best.parent, architecture="90a")
    assert made["built"], made["log"]
    assert made["facts"]["profile.spills"] == 0
    assert "C75" not in made["log"], "ptxas serialised wgmma"
