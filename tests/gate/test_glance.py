"""A glance beside an evaluation: when a few rounds are worth more of them, and what they say together."""

import pytest

from engine import pairing
from engine.gate import Round


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
