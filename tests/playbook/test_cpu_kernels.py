"""The CPU playbook's kernels, built by the real compiler and judged by the real scorer."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from engine.data import kernels_directory
from engine.operators.playbook.catalogue import load
from engine.operators.playbook.edits import apply

sys.path.append(str(Path(__file__).parent.parent / "scorer"))  # the served scorer lies there
from served import Scorer

ROWS = ("simd-dot", "skip-masked-keys", "parallel-rows", "row-exp")
TILES = ("query-tiles", "score-registers", "value-registers", "fold-scale", "one-region", "scratch-per-thread",
         "depth-unroll", "clean-broadcast", "heavy-first", "mask-prefix", "diagonal-values", "diagonal-scores",
         "transposed-pack", "reciprocal-write", "rescale-in-registers")  # fmt: skip
WIDE = ("wide-vectors", "wide-blocks", "tall-blocks", "exp-scalef", "exp-degree-4")


def sources_of(problem: str, *names: str) -> dict[str, str]:
    """The seed with these directions applied, one after the other."""
    folder = kernels_directory() / problem
    book = load(folder / "playbook")
    sources = {"attention.cpp": (folder / "seed" / "attention.cpp").read_text()}
    for name in names:
        direction = book.of(name)
        assert direction is not None, name
        edited = apply(sources, direction.edits)
        assert edited.sources is not None, f"{name}: {edited.reason}"
        sources = edited.sources
    return sources


@pytest.fixture(scope="module")
def scorer() -> Iterator[Scorer]:
    """One real scorer for all of them."""
    served = Scorer()
    yield served
    served.close()


def judged(scorer: Scorer, tmp_path: Path, problem: str, *names: str) -> dict[str, Any]:
    """The real scorer's word on the seed with these directions."""
    folder = tmp_path / "candidate"
    folder.mkdir()
    for name, text in sources_of(problem, *names).items():
        (folder / name).write_text(text)
    found: dict[str, Any] = scorer.score(folder, kernels_directory() / problem)
    return found


def has_avx512() -> bool:
    cpuinfo = Path("/proc/cpuinfo")
    return cpuinfo.is_file() and "avx512f" in cpuinfo.read_text()


@pytest.mark.parametrize(
    ("problem", "names"),
    [
        pytest.param("mha_cpu", (), id="seed", marks=pytest.mark.soak),  # tests/scorer judges seeds as well
        pytest.param("mha_cpu", ROWS, id="rows"),
        pytest.param("mha_cpu", TILES, id="tiles"),
        pytest.param("gqa_cpu", (TILES[0], "group-tiles", *TILES[1:]), id="grouped-tiles"),
        pytest.param("mha_cpu", (*TILES, *WIDE), id="wide"),
    ],
)
def test_the_ladder_is_correct_at_every_landing(
    scorer: Scorer, tmp_path: Path, problem: str, names: tuple[str, ...]
) -> None:
    if set(names) & set(WIDE) and not has_avx512():
        pytest.skip("this machine has no AVX-512")
    found = judged(scorer, tmp_path, problem, *names)
    assert found["correct"], found


@pytest.mark.parametrize(
    "tempting",
    [
        (*TILES, "no-maximum"),
        (*TILES, "exp-degree-2"),
        pytest.param((*TILES, "exp-bits"), marks=pytest.mark.soak),
        (*TILES, "fast-math"),
    ],
    ids=lambda names: names[-1],
)
def test_what_is_wrong_is_found_wrong(scorer: Scorer, tmp_path: Path, tempting: tuple[str, ...]) -> None:
    found = judged(scorer, tmp_path, "mha_cpu", *tempting)
    assert (found["correct"], found["stage"]) == (False, "check"), found


def test_without_avx512_the_tiles_still_compile(tmp_path: Path) -> None:
    folder = kernels_directory() / "mha_cpu"
    (tmp_path / "attention.cpp").write_text(sources_of("mha_cpu", *TILES)["attention.cpp"])
    subprocess.run(
        ["g++", "-std=c++17", "-O2", "-march=haswell", "-fopenmp", "-fsyntax-only", f"-I{folder}", "attention.cpp"],
        cwd=tmp_path, check=True,
    )  # fmt: skip


def test_every_direction_of_the_cpu_playbook_fits_somewhere_on_the_ladder() -> None:
    book = load(kernels_directory() / "gqa_cpu" / "playbook")
    ladder = [*ROWS, TILES[0], "group-tiles", *TILES[1:3], WIDE[0], *TILES[3:], *WIDE[1:]]
    stages = [sources_of("gqa_cpu", *ladder[:n]) for n in range(len(ladder) + 1)]

    def fits(direction_id: str) -> bool:
        direction = book.of(direction_id)
        assert direction is not None
        for stage in stages:
            text = "\n".join(stage.values())
            wanted = all(p.search(text) for p in direction.requires.contains)
            if wanted and not any(p.search(text) for p in direction.requires.lacks):
                return apply(stage, direction.edits).sources is not None
        return False

    assert [d.id for d in book.directions if not fits(d.id)] == []
