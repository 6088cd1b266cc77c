"""Edits: whole files, blocks, parameters and replacements, all or none."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.operators.playbook.edits import Block, Clear, File, Replace, Set, apply, hunks, parameters

SOURCE = """int a;
constexpr int kTile = 32;  // keys
namespace {
    // [block body]
    old();
    // [end body]
}
"""


def test_a_block_is_replaced_between_its_markers_and_takes_their_indentation() -> None:
    edited = apply({"a.cpp": SOURCE}, [Block("a.cpp", "body", "\nnew();\n\nif (x)\n    y();\n")])
    assert edited.sources is not None
    body = "    // [block body]\n    new();\n\n    if (x)\n        y();\n    // [end body]\n"
    assert body in edited.sources["a.cpp"]


def test_a_parameter_keeps_its_type_and_comment() -> None:
    edited = apply({"a.cpp": SOURCE}, [Set("a.cpp", "kTile", "64")])
    assert edited.sources is not None
    assert "constexpr int kTile = 64;  // keys" in edited.sources["a.cpp"]
    assert parameters(edited.sources) == {"kTile": "64"}


def test_a_file_is_made_or_replaced() -> None:
    edited = apply({"a.cpp": SOURCE}, [File("flags.txt", "-O2\n"), File("a.cpp", "int b;\n")])
    assert edited.sources == {"a.cpp": "int b;\n", "flags.txt": "-O2\n"}


def test_flags_are_cleared_where_there_are_some_and_not_made_where_there_are_none() -> None:
    assert apply({"flags.txt": "-O2"}, [Clear("flags.txt")]).sources == {"flags.txt": ""}
    assert apply({}, [Clear("flags.txt")]).sources == {}


@pytest.mark.parametrize(
    ("edit", "reason"),
    [
        (Block("a.cpp", "nobody", ""), "block 'nobody' occurs 0 times"),
        (Set("a.cpp", "kWarp", "1"), "parameter kWarp is defined 0 times"),
        (Replace("a.cpp", "missing", ""), "'missing' occurs 0 times"),
        (Replace("a.cpp", "\n", " "), "occurs 7 times, not once"),
        (Replace("b.cpp", "x", "y"), "there is no file b.cpp"),
    ],
)
def test_one_edit_that_does_not_fit_undoes_all_and_says_which(edit: object, reason: str) -> None:
    edited = apply({"a.cpp": SOURCE}, [Set("a.cpp", "kTile", "64"), edit])  # type: ignore[list-item]
    assert edited.sources is None
    assert reason in edited.reason


lines = st.lists(st.sampled_from(["a\n", "b\n", "c\n", "\n", "}\n", "long line of words\n"]), max_size=30)


@given(lines, lines)
def test_hunks_turn_one_text_into_the_other_by_unique_replacements(old: list[str], new: list[str]) -> None:
    text, after = "".join(old), "".join(new)
    for find, put in hunks(text, after) or []:
        assert text.count(find) == 1
        text = text.replace(find, put)
    assert hunks("".join(old), after) is None or text == after
