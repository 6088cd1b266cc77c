"""GPU candidates that cheat, each really doing it, beside honest ones: `pytest -m gpu tests/scorer/cuda` on a GPU host.

A cheat says in its third line what must become of it: a stage (several separated by |), or "harmless".
"""

import re
import shutil
from pathlib import Path

import pytest

from engine.data import kernels_directory

HERE = Path(__file__).parent
MHA = kernels_directory() / "mha_cuda"
CHEATS = sorted((HERE / "cheats").glob("*.cu"))
HONEST = sorted((HERE / "honest").glob("*.cu"))
pytestmark = [
    pytest.mark.gpu,
    pytest.mark.timeout(180),
    pytest.mark.skipif(not Path("/dev/nvidiactl").exists(), reason="no NVIDIA device here"),
]


def folder_of(source: Path, tmp_path: Path) -> Path:
    folder = tmp_path / "candidate"
    folder.mkdir()
    shutil.copy(source, folder / "attention.cu")
    shutil.copy(HERE / "cheats" / "base.cuh", folder)
    shutil.copy(MHA / "seed" / "attention.cu", folder / "seed.inc")
    return folder


@pytest.fixture(scope="module")
def seed_tflops(scorer):
    result = scorer.score(MHA / "seed", problem=MHA)
    assert result["correct"], result["reason"]
    return result["geomean_tflops"]


@pytest.mark.parametrize("cheat", CHEATS, ids=lambda p: p.stem)
def test_a_gpu_cheat_is_rejected_or_made_harmless(cheat, scorer, tmp_path, seed_tflops):
    expected = re.search(r"^// expect: (.+)$", cheat.read_text(), re.MULTILINE)
    assert expected, f"{cheat.name} does not say what is expected of it"
    result = scorer.score(folder_of(cheat, tmp_path), problem=MHA, call_timeout_s=5.0)
    outcome = "harmless" if result["correct"] else result["stage"]
    print(f"{cheat.stem}: {outcome}: {result['reason']}")
    assert outcome in [e.strip() for e in expected[1].split("|")], f"{result['reason']}\n{result['log'][-2000:]}"
    if outcome == "harmless":
        assert result["geomean_tflops"] < 1.15 * seed_tflops, "faster than the kernel inside it"
    else:
        assert result["geomean_tflops"] is None
        assert result["reason"]


@pytest.mark.parametrize("source", HONEST, ids=lambda p: p.stem)
def test_an_honest_gpu_kernel_passes(source, scorer, tmp_path):
    result = scorer.score(folder_of(source, tmp_path), problem=MHA)
    assert result["correct"], result["reason"]


@pytest.mark.parametrize("fault", ["illegal_address", "hangs_on_the_device"])
def test_the_next_evaluation_works_after_a_fault(fault, scorer, tmp_path, seed_tflops):
    broken = scorer.score(folder_of(HERE / "cheats" / f"{fault}.cu", tmp_path), problem=MHA, call_timeout_s=5.0)
    assert not broken["correct"]
    again = scorer.score(MHA / "seed", problem=MHA)
    assert again["correct"], again["reason"]
    assert again["geomean_tflops"] > 0.8 * seed_tflops


def test_the_grouped_seed_passes_its_own_suite(scorer):
    gqa = kernels_directory() / "gqa_cuda"
    result = scorer.score(gqa / "seed", problem=gqa)
    assert result["correct"], result["reason"]


def test_the_worker_that_was_judged_was_confined(scorer):
    result = scorer.score(MHA / "seed", problem=MHA)
    found = {check["name"]: check for check in result["integrity"]["checks"]}
    print(found["worker-sandbox"]["detail"])
    assert found["worker-sandbox"]["passed"], found["worker-sandbox"]["detail"]
