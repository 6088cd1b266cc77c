"""The best kernels over every kind of shape that the ABI admits, and what they must refuse: `pytest -m gpu`.

Each shape is a configuration of a problem made up here, so the judge's own checks apply: float64 rows, poison, guards.
"""

import itertools
import shutil
from pathlib import Path

import pytest

from engine.data import kernels_directory
from engine.scorer import problem as problems

MHA = kernels_directory() / "mha_cuda"
BEST = {"mha": MHA / "best", "gqa": kernels_directory() / "gqa_cuda" / "best"}
LENGTHS = (1, 2, 63, 64, 65, 127, 128, 129, 191, 255, 256, 257, 511, 1000, 2049, 4095, 4097)
RATIOS = (1, 2, 4, 8)
gpu = [
    pytest.mark.gpu,
    pytest.mark.timeout(300),
    pytest.mark.skipif(not Path("/dev/nvidiactl").exists(), reason="no NVIDIA device here"),
]


def shapes():
    """(batch, seqlen, heads_q, heads_kv, causal): every length and mask, with batches and ratios taken in turn."""
    batches, kv = itertools.cycle(range(1, 9)), itertools.cycle((1, 2, 3))
    for (seqlen, causal), ratio in zip(
        itertools.product(LENGTHS, (True, False)), itertools.cycle(RATIOS), strict=False
    ):
        heads_kv = next(kv)
        yield next(batches), seqlen, heads_kv * ratio, heads_kv, causal
    for ratio, causal in itertools.product(RATIOS, (True, False)):
        yield 2, 777, 2 * ratio, 2, causal
    for batch in range(1, 9):
        yield batch, 300, 4, 4, batch % 2 == 0


def made_problem(folder: Path, wanted, *, head_dim: int = 128) -> Path:
    """A problem whose configurations are these shapes; its reference is the shipped one without the peer."""
    folder.mkdir()
    lines = ['name = "shapes"', 'title = "Shapes"', 'language = "cuda"', 'dtype = "bfloat16"', "tolerance = 2e-2"]
    lines += [
        "[build]",
        'flags = ["-std=c++17", "-O3", "-Xptxas=-v"]',
        "allowed = []",
        "[shape]",
        f"head_dim = {head_dim}",
    ]
    for batch, seqlen, heads_q, heads_kv, causal in wanted:
        name = f"b{batch}_s{seqlen}_h{heads_q}_{heads_kv}_{'causal' if causal else 'full'}"
        lines += ["[[configuration]]", f'name = "{name}"', f"batch = {batch}", f"seqlen = {seqlen}"]
        lines += [f"heads_q = {heads_q}", f"heads_kv = {heads_kv}", f"causal = {str(causal).lower()}", "quick = true"]
    (folder / "problem.toml").write_text("\n".join(lines) + "\n")
    shutil.copy(MHA / "avo_abi.h", folder)
    text = (MHA / "reference.py").read_text()
    (folder / "reference.py").write_text(text.replace("def peer(", "def unused("))
    (folder / "seed").mkdir()
    shutil.copy(MHA / "seed" / "attention.cu", folder / "seed")
    return folder


def test_the_sweep_covers_what_the_abi_admits(tmp_path):
    wanted = problems.load(made_problem(tmp_path / "shapes", shapes())).configurations
    assert {c.seqlen for c in wanted} >= set(LENGTHS)
    assert {c.batch for c in wanted} == set(range(1, 9))
    assert {c.heads_q // c.heads_kv for c in wanted} == set(RATIOS)
    assert {(c.seqlen, c.causal) for c in wanted} >= set(itertools.product(LENGTHS, (True, False)))


class TestOnTheDevice:
    pytestmark = gpu

    @pytest.mark.parametrize("kernel", BEST)
    def test_the_best_kernel_is_right_for_every_shape(self, kernel, scorer, tmp_path):
        result = scorer.score(BEST[kernel], problem=made_problem(tmp_path / "shapes", shapes()))
        wrong = [f"{c['name']}: {c['reason']}" for c in result["configurations"] if not c["correct"]]
        assert result["correct"], "\n".join([result["reason"], *wrong[:3]])
        worst = max(c["relative_error"] for c in result["configurations"])
        print(f"{kernel}: {len(result['configurations'])} shapes, worst row error {worst:.2g}")

    @pytest.mark.parametrize("kernel", BEST)
    @pytest.mark.parametrize("head_dim", [64, 96, 256])
    def test_another_head_dim_is_refused_by_name(self, kernel, head_dim, scorer, tmp_path):
        folder = made_problem(tmp_path / "shapes", [(1, 256, 2, 2, True)], head_dim=head_dim)
        result = scorer.score(BEST[kernel], problem=folder)
        assert not result["correct"]
        assert result["stage"] == "check"
        assert "refused this shape: head_dim must be 128" in result["reason"]
        print(f"{kernel}: {result['reason']}")
