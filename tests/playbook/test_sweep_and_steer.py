"""The parameter search covers its space once; a person's words are understood or declined."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.operators.playbook.catalogue import Catalogue, Direction
from engine.operators.playbook.edits import File
from engine.operators.playbook.memory import Trial
from engine.operators.playbook.steer import understand
from engine.operators.playbook.sweep import Move, edits_of, proposals, settings_of

SOURCES = {"a.cpp": "constexpr int kA = 2;\nconstexpr int kB = 8;\n"}
RANGES = {"kA": ("1", "2", "4"), "kB": ("8", "16"), "kMissing": ("1", "2")}


def moves_until_done(ranges: dict[str, tuple[str, ...]], trials: list[Trial]) -> list[Move]:
    tried: list[Move] = []
    while (move := next(proposals(SOURCES, ranges, trials, lambda m: m in tried), None)) is not None:
        tried.append(move)
    return tried


def told(name: str, ratio: float) -> Trial:
    return Trial(1, name, 0, "", "regressed", ratio, ratio, None, "")


def test_every_combination_is_proposed_once_and_single_moves_come_first() -> None:
    found = [m.settings for m in moves_until_done(RANGES, [])]
    assert found[:3] == [(("kA", "1"),), (("kA", "4"),), (("kB", "16"),)]
    assert {tuple(sorted(s)) for s in found[3:]} == {
        (("kA", "1"), ("kB", "16")),
        (("kA", "4"), ("kB", "16")),
    }


@given(st.dictionaries(st.sampled_from(["kA", "kB"]), st.lists(st.sampled_from("1248"), unique=True, min_size=1)))
def test_the_search_ends_after_the_whole_space(ranges: dict[str, list[str]]) -> None:
    space = {name: tuple(values) for name, values in ranges.items()}
    now = {"kA": "2", "kB": "8"}
    size = 1
    for name, values in space.items():
        size *= len({*values, now[name]})
    assert len(moves_until_done(space, [])) == size - 1


def test_a_parameter_that_paid_is_varied_first() -> None:
    move = next(proposals(SOURCES, RANGES, [told("tune:kB=16", 1.05), told("tune:kA=1", 0.9)], lambda _: False))
    assert move == Move((("kB", "16"),))


def test_a_move_survives_the_journal() -> None:
    move = Move((("kA", "4"), ("kB", "16")))
    assert settings_of(move.id) == {"kA": "4", "kB": "16"}
    assert len(edits_of(SOURCES, move)) == 2
    assert edits_of(SOURCES, Move((("kC", "1"),))) == "kC"


def made(name: str, title: str, *keywords: str) -> Direction:
    return Direction(name, title, "algorithm", "", 1.1, keywords=keywords, edits=(File("x", "y"),))


BOOK = Catalogue(
    (
        made("bf16-scores", "Scores from bfloat16", "bf16", "bfloat16"),
        made("exp-table", "exp with a table", "exp", "lookup"),
        made("heavy-first", "Hand out tiles, the heaviest first", "dynamic", "schedule"),
    )
)


@pytest.mark.parametrize(
    ("words", "first"),
    [
        ("try exp-table", "exp-table"),
        ("could bfloat16 help?", "bf16-scores"),
        ("use a Dynamic Schedule please", "heavy-first"),
        ("a lookup for the exp", "exp-table"),
        ("hand out heaviest tiles", "heavy-first"),
    ],
)
def test_words_find_their_direction(words: str, first: str) -> None:
    assert understand(words, BOOK, {}).directions[0].id == first


def test_parameters_count_before_words() -> None:
    wish = understand("exp table with kTileQ = 64 and kWide to true", BOOK, {"kTileQ": "32", "kWide": "false"})
    assert wish.settings == (("kTileQ", "64"), ("kWide", "true"))


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        ("make it better", "nothing in the playbook matches"),
        ("avoid bf16", "veto the direction bf16-scores"),
        ("kNone = 3", "has no parameter kNone; it has: kTileQ = 32"),
        ("kTileQ = 32", "has these values already"),
        ("x" * 60_000, "nothing in the playbook matches"),
    ],
)
def test_what_cannot_be_followed_gets_a_reason(words: str, reason: str) -> None:
    wish = understand(words, BOOK, {"kTileQ": "32"})
    assert not wish.directions
    assert reason in wish.reason
