"""The kernels shipped to be read and taken along: each is its lineage's incumbent, unchanged, and it compiles."""

import re
import shutil
from pathlib import Path

import pytest

from engine import archive
from engine.data import kernels_directory
from engine.lineage import Lineage
from engine.operators.playbook import catalogue, edits
from engine.record.reader import Reader
from engine.record.run import RunFolder

BEST = sorted(folder for folder in kernels_directory().glob("*_cuda/best") if folder.is_dir())
FILES = ("attention.cu", "hopper.cuh")
TITLE = re.compile(r"# .+: v(\d+) of lineages/([\w.-]+), byte for byte")


def named(best: Path) -> tuple[int, Path]:
    """The version and the lineage that a best kernel's README says it is."""
    title = (best / "README.md").read_text("utf-8").splitlines()[0]
    found = TITLE.fullmatch(title)
    assert found, f"{best}/README.md begins with the version and the lineage that it comes from, not {title!r}"
    return int(found[1]), best.parent / "lineages" / found[2]


def test_both_problems_have_a_best_kernel():
    assert [best.parent.name for best in BEST] == ["gqa_cuda", "mha_cuda"]


@pytest.mark.parametrize("best", BEST, ids=lambda p: p.parent.name)
def test_the_best_kernel_is_the_incumbent_of_the_lineage_it_names(best, tmp_path):
    """The incumbent is what won its pairs; geomeans of different hours drift by a percent and do not decide."""
    version, lineage = named(best)
    run = RunFolder(archive.unpack(lineage, tmp_path).path)
    with Reader(run.journal) as reader:
        incumbent, versions = reader.incumbent(), {v.version: v for v in reader.versions()}
    assert incumbent is not None
    assert incumbent.version == version == max(v for v in versions if versions[v].active)
    kept = Lineage(run.lineage).files(version)
    assert {name: (best / name).read_bytes() for name in FILES} == {name: kept[name] for name in FILES}
    assert sorted(p.name for p in best.iterdir()) == sorted([*FILES, "README.md", "MEASURED.md"])


def test_the_last_direction_leads_from_the_version_before_to_the_best_kernel(tmp_path):
    best = kernels_directory() / "mha_cuda" / "best"
    version, lineage = named(best)
    kept = Lineage(RunFolder(archive.unpack(lineage, tmp_path).path).lineage).files(version - 1)
    known = {d.id: d for d in catalogue.load(best.parent / "playbook").directions}
    edited = edits.apply({name: data.decode() for name, data in kept.items()}, known["zero-and-one-count"].edits)
    assert edited.sources is not None, edited.reason
    assert {name: edited.sources[name] for name in FILES} == {name: (best / name).read_text() for name in FILES}


@pytest.mark.parametrize("best", BEST, ids=lambda p: p.parent.name)
def test_what_was_measured_names_every_configuration_and_the_readme_its_geomeans(best):
    from engine.scorer import problem

    rows = [line.split(" | ") for line in (best / "MEASURED.md").read_text("utf-8").splitlines() if " ± " in line]
    figures = {row[0].strip("| *"): [float(cell.split(" ± ")[0]) for cell in row[1:5]] for row in rows}
    assert set(figures) == {c.name for c in problem.load(best.parent).configurations} | {"geomean"}
    assert all(ours > max(rivals) for ours, *rivals in figures.values())
    text = (best / "README.md").read_text("utf-8")
    assert all(f"{figure:.1f}" in text for figure in figures["geomean"])


@pytest.mark.skipif(shutil.which("nvcc") is None, reason="nvcc is not on this machine")
@pytest.mark.parametrize(
    "best",
    [BEST[0], *(pytest.param(best, marks=pytest.mark.soak) for best in BEST[1:])],
    ids=lambda p: p.parent.name,
)
def test_the_best_kernel_compiles_without_spills(best, scorer):
    made = scorer.ask(op="build", source=best, problem=best.parent, architecture="90a")
    assert made["built"], made["log"]
    assert made["facts"]["profile.spills"] == 0
    assert "C75" not in made["log"], "ptxas serialised wgmma"
