"""problem.toml is understood exactly or refused by name; the shipped problems are those of the contract."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from served import KERNELS, ROOT, SMALL

from engine.record.errors import ConfigError
from engine.scorer.problem import load


@pytest.fixture
def copy(tmp_path: Path):
    """A copy of the small problem with one text replaced; returns its folder."""

    def change(old: str, new: str) -> Path:
        folder = tmp_path / "problem"
        shutil.copytree(SMALL, folder)
        text = (folder / "problem.toml").read_text()
        assert old in text
        (folder / "problem.toml").write_text(text.replace(old, new, 1))
        return folder

    return change


@pytest.mark.parametrize(("name", "heads_kv"), [("mha_cpu", 8), ("gqa_cpu", 2)])
def test_the_cpu_problems_are_those_of_the_contract(name: str, heads_kv: int):
    problem = load(KERNELS / name)
    assert [c.name for c in problem.configurations] == [
        f"{mask}_{s}" for mask in ("full", "causal") for s in (256, 512, 1024, 2048)
    ]
    for c in problem.configurations:
        assert (c.batch * c.seqlen, c.heads_q, c.heads_kv, c.head_dim) == (2048, 8, heads_kv, 64)
        assert c.flops == 4 * c.batch * 8 * c.seqlen**2 * 64 / (2 if c.causal else 1)
    assert 1 <= len(problem.suite("quick")) < len(problem.suite("full")) == 8
    assert any(h.seqlen % 2 for h in problem.holdouts)


def test_a_problem_is_named_by_its_folder_or_its_file():
    assert load(SMALL) == load(str(SMALL / "problem.toml"))


def test_loading_a_problem_does_not_import_torch():
    code = "import sys; from engine.scorer import problem, sandbox; problem.load(sys.argv[1]); print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code, SMALL], cwd=ROOT, capture_output=True, text=True)
    assert done.stdout.strip() == "False", done.stderr


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ('name = "small"', 'name = "Small!"', "name = 'Small!'"),
        ('language = "cpp"', 'language = "fortran"', "language = 'fortran' is not one of cpp"),
        ('dtype = "float32"', 'dtype = "float31"', "dtype = 'float31'"),
        ("tolerance = 1e-4", "tolerance = 1", "tolerance = 1 "),
        ("tolerance = 1e-4", "tolerance = -1e-4", "tolerance"),
        ("tolerance = 1e-4", "tolerance = 1e-4\ncolour = 3", "unknown key 'colour'"),
        ("heads_kv = 4", "heads_kv = 3", "not a multiple of heads_kv"),
        ("heads_q = 4", "heads_q = 0", "heads_q = 0 is not a whole number"),
        ("heads_q = 4", "heads_q = true", "heads_q = True is not a whole number"),
        ("seqlen = 128", "seqlen = 2000000", "seqlen"),
        ("head_dim = 64", "head_dim = 1048576", "more than the scorer handles"),
        ('name = "full_128"', 'name = "full_256"', "two [[configuration]] are named 'full_256'"),
        ('name = "full_128"', 'name = "full 128"', "must be letters"),
        ("causal = false", 'causal = "no"', "causal"),
        ("causal = false", "", "causal is missing"),
        ('flags = ["-std=c++17"', 'flags = ["rm -rf"', "list of compiler flags"),
        ("[build]", "[built]", "unknown key 'built'"),
        ("tolerance = 1e-4", "tolerance = = 1e-4", "problem.toml"),
        ("quick = true\n", "", "quick"),
    ],
)
def test_a_problem_that_cannot_be_used_is_refused_in_one_line(copy, old: str, new: str, words: str):
    folder = copy(old, new)
    if words == "quick":
        text = (folder / "problem.toml").read_text()
        (folder / "problem.toml").write_text(text.replace("quick = true\n", ""))
    with pytest.raises(ConfigError) as refused:
        load(folder)
    assert words in str(refused.value)
    assert "\n" not in str(refused.value)
    assert "problem.toml" in str(refused.value)


def test_a_folder_without_a_problem_or_without_its_parts_is_refused(copy, tmp_path: Path):
    with pytest.raises(ConfigError, match=r"problem\.toml"):
        load(tmp_path / "nothing")
    folder = copy("small", "small")
    (folder / "reference.py").unlink()
    with pytest.raises(ConfigError, match=r"reference\.py is missing"):
        load(folder)


def test_an_unknown_configuration_is_refused_with_the_known_ones():
    with pytest.raises(ConfigError, match=r"no configuration 'full_7'.*full_128"):
        load(SMALL).select(["full_7"])
