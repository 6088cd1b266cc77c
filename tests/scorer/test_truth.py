"""The truth: the judge's compiled float64 rows against reference.py, and the inputs that both are asked about."""

from __future__ import annotations

import ctypes
import importlib
import statistics
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from served import KERNELS, SMALL, Scorer, ScorerFailed, failed_checks

from engine.scorer import problem, toolchain
from engine.scorer.hands import Block, Hands, Queries
from engine.scorer.truth import Exact, agreed, declared

HONEST = Path(__file__).parent / "honest"


@pytest.fixture(scope="module")
def hands(cache: Path) -> Hands:
    return Hands(toolchain.hands(toolchain.find(cache)))


@pytest.fixture(scope="module")
def reference(torch: Any) -> Any:
    """The scorer's module that speaks torch."""
    return importlib.import_module("engine.scorer.reference")


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
def test_the_compiled_truth_is_the_reference_on_shapes_of_every_kind(
    name: str, causal: bool, hands: Hands, torch: Any, reference: Any
):
    chosen = problem.load(KERNELS / name)
    definition, exact = reference.Reference(chosen, threads=2), Exact(hands, threads=2)
    for batch, seqlen, heads_q, heads_kv, width in [
        (1, 1, 8, 8, 64), (3, 37, 4, 4, 64), (1, 129, 2, 2, 64), (2, 257, 8, 2, 64), (1, 320, 3, 3, 80),
        (2, 65, 6, 1, 33), (1, 100, 128, 1, 16), (1, 700, 1, 1, 1),
    ]:  # fmt: skip
        shape = replace(
            chosen.configurations[0],
            batch=batch, seqlen=seqlen, heads_q=heads_q, heads_kv=heads_kv, head_dim=width, causal=causal,
        )  # fmt: skip
        call, everywhere = reference.SomeCall(shape), range(seqlen)
        truth = definition.rows(call.placement, torch.arange(seqlen))
        for off in (0.0, 1e-3):
            call.tensors.o.copy_(truth * (1.0 + off * torch.randn_like(truth)))
            for positions in (everywhere, everywhere[:: max(1, seqlen // 7)]):
                ours, theirs = (judge.errors(call.placement, positions) for judge in (exact, definition))
                assert len(ours) == batch * len(positions) * heads_q
                assert max(abs(a - b) for a, b in zip(ours, theirs, strict=True)) < 1e-10


def test_one_wrong_element_among_all_rows_shows_in_its_own_row(hands: Hands, torch: Any, reference: Any):
    chosen = problem.load(KERNELS / "gqa_cpu")
    shape = replace(chosen.configurations[0], batch=2, seqlen=300)
    call = reference.SomeCall(shape)
    call.tensors.o.copy_(reference.Reference(chosen, threads=2).rows(call.placement, torch.arange(300)))
    call.tensors.o[1, 299, 3, 17] += 1.0
    errors = Exact(hands, threads=2).errors(call.placement, range(300))
    assert errors.pop((1 * 300 + 299) * shape.heads_q + 3) > 1e-3
    assert max(errors) < 1e-6


def calm(reference: Any, torch: Any, seqlen: int = 500) -> Any:
    """A call of ordinary queries whose output is the truth, rounded to float32."""
    chosen = problem.load(KERNELS / "gqa_cpu")
    call = reference.SomeCall(replace(chosen.configurations[0], batch=2, seqlen=seqlen))
    call.tensors.q.copy_(torch.randn_like(call.tensors.q))
    call.tensors.o.copy_(reference.Reference(chosen, threads=2).rows(call.placement, torch.arange(seqlen)))
    return call


@pytest.mark.parametrize("off", [0.8, 1.3, 1e4])
def test_of_all_rows_those_near_the_tolerance_and_beyond_are_looked_at_in_float64(
    off: float, hands: Hands, torch: Any, reference: Any
):
    call, exact, tolerance, sample = calm(reference, torch), Exact(hands, threads=2), 1e-4, [0, 17, 499]
    call.tensors.o[1, 321, 5] *= 1.0 + off * tolerance
    positions, errors = exact.all_errors(call.placement, sample, tolerance)
    assert {*sample, 321} <= set(positions) and len(positions) <= 5
    assert errors == exact.errors(call.placement, positions)
    assert max(errors) == pytest.approx(off * tolerance, rel=1e-2)


def test_the_worst_of_all_rows_is_reported_in_float64_although_none_is_suspect(
    hands: Hands, torch: Any, reference: Any
):
    call, exact = calm(reference, torch), Exact(hands, threads=2)
    call.tensors.o[0, 77, 2] *= 1.0 + 2e-5
    positions, errors = exact.all_errors(call.placement, [0, 499], 1e-4)
    assert list(positions) == [0, 77, 499]
    assert max(errors) == max(exact.errors(call.placement, range(500))) == pytest.approx(2e-5, rel=1e-2)


def test_float32_is_not_believed_where_it_is_off_itself(hands: Hands, torch: Any, reference: Any):
    call, exact, every = calm(reference, torch), Exact(hands, threads=2), range(500)
    assert len(exact.all_errors(call.placement, [0, 250], 1e-4)[0]) < 500
    positions, errors = exact.all_errors(call.placement, [0, 250], 1e-7)
    assert positions == every and errors == exact.errors(call.placement, every)


def test_a_compiled_truth_that_is_not_the_reference_is_our_error_in_one_line(
    scorer: Scorer, changed: Callable[[str, str], Path]
):
    folder = changed("to(torch.float64) * scale", "to(torch.float64) * (scale * 1.0001)")
    with pytest.raises(ScorerFailed, match=r"reference\.py: compiled = 'attention' and reference\(\) differ by \S+ of"):
        scorer.score(HONEST / "tiled.cpp", folder)


def test_a_reference_that_gives_no_numbers_agrees_with_nothing(scorer: Scorer, changed: Callable[[str, str], Path]):
    with pytest.raises(ScorerFailed, match=r"and reference\(\) differ by inf of a row"):
        scorer.score(HONEST / "tiled.cpp", changed("to(torch.float64) * scale", "to(torch.float64) * float('nan')"))


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


def test_the_two_are_compared_once_and_again_when_the_reference_changes(
    scorer: Scorer, cache: Path, changed: Callable[[str, str], Path]
):
    folder = changed("# the judge's own code for the same rows", "# as before, in other words")
    written = agreed(problem.load(folder), toolchain.find(cache))
    assert not written.exists()
    assert scorer.score(HONEST / "tiled.cpp", folder)["correct"]
    assert float(written.read_text()) < 1e-10
    text = (folder / "reference.py").read_text()
    (folder / "reference.py").write_text(text.replace("to(torch.float64) * scale", "to(torch.float64) * (scale * 1.1)"))
    with pytest.raises(ScorerFailed, match="differ by"):
        scorer.score(HONEST / "tiled.cpp", folder)


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ('compiled = "attention"', "attention"),
        ('compiled: str = "attention"', "attention"),
        ("compiled = None", None),
        ("other = 1", None),
        ('def f():\n    compiled = "attention"', None),
        ('compiled = "attention"\ncompiled = "other"', "other"),
        ("compiled = (", None),
    ],
)
def test_what_a_reference_says_of_a_compiled_form_is_read_without_running_it(
    line: str, said: str | None, tmp_path: Path
):
    (tmp_path / "reference.py").write_text(f"raise SystemExit\n{line}\n")
    assert declared(replace(problem.load(SMALL), folder=tmp_path)) == said


def test_a_compiled_form_that_is_no_plain_text_is_refused(scorer: Scorer, changed: Callable[[str, str], Path]):
    with pytest.raises(ScorerFailed, match=r"reference\.py: compiled must be a plain text such as 'attention'"):
        scorer.score(HONEST / "tiled.cpp", changed('compiled = "attention"', 'compiled = "atten" + "tion"'))


def test_planted_rows_are_the_key_that_each_head_sees_and_no_other_row_changes(
    hands: Hands, torch: Any, reference: Any
):
    chosen = problem.load(KERNELS / "gqa_cpu").configurations[0]
    shape = replace(chosen, batch=2, seqlen=9, heads_q=6, heads_kv=2, head_dim=5)
    call = reference.SomeCall(shape)
    q, k = call.tensors.q.clone(), call.tensors.k

    def at(position: int) -> Queries:
        return Queries(call.placement.q, 2, 9, 6, 2, 5, position)

    hands.heat(at(8), 3.5)
    hands.align(at(2), call.placement.k, 7, 0.25)
    q[:, 8] *= 3.5
    q[:, 2] = k[:, 7].repeat_interleave(3, dim=1) * 0.25
    assert torch.equal(call.tensors.q, q)


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
    # Two of a million pairs of floats are equal once in ninety runs by chance alone.
    assert len(set(plain[:1000]) & set(again[:1000])) < 5
    straight = [x - (3.0, -3.0)[i % 2] for i, x in enumerate(shifted)]
    for part in (plain[:100_000], plain[100_000:200_000], plain[200_000:], straight):
        assert abs(statistics.fmean(part)) < 0.02
        assert abs(statistics.pstdev(part) - 1.0) < 0.02
        beyond = sum(abs(x) > 3 for x in part) / len(part)
        assert 0.0015 < beyond < 0.0042  # 0.0027 of a normal law
        assert max(map(abs, part)) > 3.8
