"""The truth: the judge's compiled float64 rows against reference.py, and the inputs that both are asked about."""

from __future__ import annotations

import ctypes
import statistics
import warnings
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from served import KERNELS, SMALL, Scorer, ScorerFailed, failed_checks

from engine.scorer import problem, toolchain
from engine.scorer.hands import Block, Hands

with warnings.catch_warnings():  # torch warns that numpy is absent; nothing here uses it
    warnings.simplefilter("ignore")
    import torch

    from engine.scorer.judge import load_reference
    from engine.scorer.truth import Exact, Reference, some_call

HONEST = Path(__file__).parent / "honest"


@pytest.fixture(scope="module")
def hands(cache: Path) -> Hands:
    return Hands(toolchain.hands(toolchain.find(cache)))


@pytest.fixture
def changed(tmp_path: Path) -> Callable[[str, str], Path]:
    """A copy of the small problem whose reference.py reads otherwise."""

    def change(old: str, new: str) -> Path:
        folder = tmp_path / "problem"
        folder.mkdir()
        for path in SMALL.iterdir():
            (folder / path.name).symlink_to(path)
        text = (SMALL / "reference.py").read_text()
        assert old in text
        (folder / "reference.py").unlink()
        (folder / "reference.py").write_text(text.replace(old, new))
        return folder

    return change


@pytest.mark.parametrize("name", ["mha_cpu", "gqa_cpu"])
@pytest.mark.parametrize("causal", [False, True])
def test_the_compiled_truth_is_the_reference_on_shapes_of_every_kind(name: str, causal: bool, hands: Hands):
    chosen = problem.load(KERNELS / name)
    reference, exact = Reference(chosen, load_reference(chosen)), Exact(hands, threads=2)
    for batch, seqlen, heads_q, heads_kv, width in [
        (1, 1, 8, 8, 64), (3, 37, 4, 4, 64), (1, 129, 2, 2, 64), (2, 257, 8, 2, 64), (1, 320, 3, 3, 80),
        (2, 65, 6, 1, 33), (1, 100, 128, 1, 16), (1, 700, 1, 1, 1),
    ]:  # fmt: skip
        shape = replace(
            chosen.configurations[0],
            batch=batch, seqlen=seqlen, heads_q=heads_q, heads_kv=heads_kv, head_dim=width, causal=causal,
        )  # fmt: skip
        call, everywhere = some_call(shape), torch.arange(seqlen)
        truth = reference.rows(call, everywhere)
        for off in (0.0, 1e-3):
            call.o.copy_(truth * (1.0 + off * torch.randn_like(truth)))
            for positions in (everywhere, everywhere[:: max(1, seqlen // 7)]):
                apart = exact.errors(call, positions) - reference.errors(call, positions)
                assert float(apart.abs().max()) < 1e-10


def test_one_wrong_element_among_all_rows_shows_in_its_own_row(hands: Hands):
    shape = problem.load(KERNELS / "gqa_cpu").configurations[0]
    call, chosen = some_call(replace(shape, batch=2, seqlen=300)), problem.load(KERNELS / "gqa_cpu")
    positions = torch.arange(300)
    call.o.copy_(Reference(chosen, load_reference(chosen)).rows(call, positions))
    call.o[1, 299, 3, 17] += 1.0
    errors = Exact(hands, threads=2).errors(call, positions)
    assert float(errors[1, 299, 3]) > 1e-3
    errors[1, 299, 3] = 0.0
    assert float(errors.max()) < 1e-6


def test_a_compiled_truth_that_is_not_the_reference_is_our_error_in_one_line(
    scorer: Scorer, changed: Callable[[str, str], Path]
):
    folder = changed("to(torch.float64) * scale", "to(torch.float64) * (scale * 1.0001)")
    with pytest.raises(ScorerFailed, match=r"reference\.py: compiled = 'attention' and reference\(\) differ by \S+ of"):
        scorer.score(HONEST / "tiled.cpp", folder)


def test_an_unknown_compiled_truth_is_refused_with_the_known_ones(scorer: Scorer, changed: Callable[[str, str], Path]):
    with pytest.raises(ScorerFailed, match=r"reference\.py: compiled = 'magic' is not known; known: attention"):
        scorer.score(HONEST / "tiled.cpp", changed('compiled = "attention"', 'compiled = "magic"'))


def test_a_reference_that_raises_is_named_with_what_it_raised(scorer: Scorer, changed: Callable[[str, str], Path]):
    with pytest.raises(ScorerFailed, match=r"reference\.py: reference\(\) raised TypeError: .*'causal'"):
        scorer.score(HONEST / "tiled.cpp", changed("*, causal: bool, scale: float", "*, scale: float"))


def test_a_problem_of_another_formula_is_judged_by_its_reference_alone(
    scorer: Scorer, changed: Callable[[str, str], Path]
):
    assert scorer.score(HONEST / "tiled.cpp", SMALL)["correct"]
    folder = changed('compiled = "attention"', "# no compiled form")
    text = (folder / "reference.py").read_text()
    assert scorer.score(HONEST / "tiled.cpp", folder)["correct"]
    (folder / "reference.py").write_text(text.replace("to(torch.float64) * scale", "to(torch.float64) * (scale * 1.1)"))
    other = scorer.score(HONEST / "tiled.cpp", folder)
    assert not other["correct"] and failed_checks(other) == ["error"]


def test_fresh_inputs_are_normal_in_every_part_and_never_the_same_twice(hands: Hands):
    count, guard = 300_001, 64
    memory = (ctypes.c_float * (2 * (count + guard)))(*([7.0] * (2 * (count + guard))))
    shift = (ctypes.c_float * 2)(3.0, -3.0)
    at = ctypes.addressof(memory)

    def drawn() -> tuple[list[float], list[float]]:
        blocks = [Block(at, count, None, 1), Block(at + 4 * (count + guard), count, ctypes.addressof(shift), 2)]
        hands.fill(blocks, threads=3)
        values = list(memory)
        assert values[count : count + guard] == values[2 * count + guard :] == [7.0] * guard
        return values[:count], values[count + guard : 2 * count + guard]

    plain, shifted = drawn()
    again, _ = drawn()
    assert not set(plain[:1000]) & set(again[:1000])
    straight = [x - (3.0, -3.0)[i % 2] for i, x in enumerate(shifted)]
    for part in (plain[:100_000], plain[100_000:200_000], plain[200_000:], straight):
        assert abs(statistics.fmean(part)) < 0.02
        assert abs(statistics.pstdev(part) - 1.0) < 0.02
        beyond = sum(abs(x) > 3 for x in part) / len(part)
        assert 0.0015 < beyond < 0.0042  # 0.0027 of a normal law
        assert max(map(abs, part)) > 3.8
