"""A glance beside an evaluation: what it measures, when a few rounds are worth more, and what they say together."""

from pathlib import Path

import pytest

from engine import pairing
from engine.gate import Round
from engine.record.scores import ConfigurationScore, Score
from engine.scorer.problem import load

MHA = load(Path(__file__).parents[2] / "kernels" / "mha_cpu")


def timed(suite: str, long_us: float, short_us: float) -> Score:
    """A score whose calls take so long; those of 256 tokens are the short ones."""
    rows = [
        ConfigurationScore(c.name, True, 1.0, 0.1, short_us if c.seqlen == 256 else long_us) for c in MHA.suite(suite)
    ]
    return Score("mha_cpu", True, "ok", "", "", 1.0, tuple(rows), 1.0)


@pytest.mark.parametrize(
    ("long_us", "names", "rounds"),
    [
        (30_000.0, ["full_512", "causal_1024"], 2),
        (100_000.0, ["full_512", "causal_1024"], 1),
        (400_000.0, ["full_256", "causal_256"], 1),  # a round of the quick suite would take more than three seconds
    ],
)
def test_slow_kernels_are_compared_on_fewer_rounds_and_then_on_the_quickest_of_each_mask(
    long_us: float, names: list[str], rounds: int
) -> None:
    own, incumbent = timed("quick", long_us, 0.0), timed("full", long_us, long_us / 2)
    assert pairing.glance(MHA, own, incumbent) == (names, rounds)
    both = pairing.columns(MHA, timed("full", long_us / 3, long_us / 6), [incumbent])
    assert both == (names if long_us > 300_000.0 else ["full_512", "causal_1024"])


def seen(*ratios: float) -> list[Round]:
    """One round whose candidate takes 1 us where the incumbent takes each of `ratios`."""
    return [Round((0, 1), (tuple(1.0 for _ in ratios), ratios), (None, None), 0.1)]


@pytest.mark.parametrize(
    ("ratios", "more"),
    [
        ((1.3, 2.9), False),  # one configuration gains more than another; the gate has the last word
        ((0.9, 1.3), True),
        ((0.5, 0.9), True),  # what is dropped for good is not dropped on one disturbed round
        ((0.9, 1.0), False),
        ((0.98, 1.02), False),
    ],
)
def test_only_what_could_be_dropped_for_noise_is_looked_at_again(ratios: tuple[float, ...], more: bool) -> None:
    assert pairing.unsteady(seen(*ratios)) is more


def test_the_rounds_say_their_median_and_nothing_where_one_is_missing() -> None:
    assert pairing.ratio(seen(0.9, 1.2, 1.3)) == 1.2
    torn = [Round((0, 1), ((1.0, None), (2.0, 2.0)), (None, None), 0.1)]
    assert pairing.ratio(torn) is None
