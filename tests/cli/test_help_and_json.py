"""What every command has: help with an example; one JSON value and nothing else; an exit code that says what happened."""

import argparse
import json

import pytest

from avo_tui.arguments import parser
from avo_tui.cli import main
from avo_tui.examples import EXAMPLES


def commands(of=None):
    """Every command's parser, those inside of groups too."""
    for action in (of or parser())._actions:
        if isinstance(action, argparse._SubParsersAction):
            for made in action.choices.values():
                yield made
                yield from commands(made)


def name_of(made):
    return made.prog.removeprefix("avo ")


@pytest.mark.parametrize("made", commands(), ids=name_of)
def test_every_command_has_help_that_ends_with_an_example_that_parses(made, capsys):
    with pytest.raises(SystemExit) as left:
        main([*name_of(made).split(), "--help"])
    said = capsys.readouterr()
    assert (left.value.code, said.err) == (0, "")
    assert said.out.startswith("usage: avo")
    examples = said.out.partition("example:\n")[2].splitlines()
    assert examples, f"{made.prog} has no example; avo_tui/examples.py is where they are"
    for line in examples:
        if not line.startswith("  avo "):
            continue  # a shell's own line
        words = line.split("  avo", 1)[-1].split("   ")[0].split(" |")[0].split("  then")[0].split(" >")[0].split()
        if "'" not in line:
            assert hasattr(parser().parse_args(words), "call"), line


def test_a_command_alone_is_parsed_as_among_all_and_an_unknown_one_is_told_them_all():
    whole = {name_of(made): made.format_help() for made in commands()}
    top = [name for name in whole if " " not in name]
    alone = [made for name in top for made in commands(parser(name))]
    assert {name_of(made): made.format_help() for made in alone} == whole
    assert [len(list(commands(parser(name)))) for name in ("status", "nonsense", "-h", "")] == [1, *[len(whole)] * 3]


def test_no_example_is_of_a_command_that_is_gone():
    assert set(EXAMPLES) <= {name_of(made) for made in commands()}


def test_help_of_avo_names_every_command(capsys):
    with pytest.raises(SystemExit):
        main(["--help"])
    said = capsys.readouterr().out
    top = [name_of(made) for made in commands() if " " not in name_of(made)]
    assert len(top) > 30
    assert all(f"\n    {name} " in said or f"\n    {name}\n" in said for name in top)


LOOKS = (
    ("runs",), ("status", "climb"), ("log", "climb"), ("log", "climb", "--search", "nothing at all"), ("versions", "climb"),
    ("costs", "climb"), ("attempts", "climb"), ("attempts", "climb", "--search", "zebra"), ("show", "climb", "v2"),
    ("show", "climb", "a2", "--diff"), ("diff", "climb", "v1", "v2"), ("alerts", "climb"), ("directions", "climb"),
    ("commands", "climb"), ("knowledge", "list"), ("knowledge", "search", "softmax"), ("knowledge", "show", "online-softmax"),
)  # fmt: skip


@pytest.mark.parametrize("words", LOOKS, ids=" ".join)
def test_json_is_one_value_and_nothing_else(past, words, capsys):
    place = () if words[0] == "knowledge" else ("--runs", str(past.runs))
    assert main([*words, *place, "--json"]) == 0
    said = capsys.readouterr()
    assert said.err == ""
    json.loads(said.out)


def test_json_of_what_writes_files_is_one_value_too(past, tmp_path, capsys):
    for words in (("export", "climb", "v2"), ("archive", "climb"), ("report", "climb")):
        assert main([*words, "--runs", str(past.runs), "-o", str(tmp_path / words[0]), "--json"]) == 0
        said = capsys.readouterr()
        assert said.err == ""
        json.loads(said.out)


def test_json_of_a_command_that_is_refused_is_nothing_on_standard_output(past):
    for words in (("show", "climb", "v99"), ("pause", "climb"), ("diff", "climb", "v0"), ("status", "ghost")):
        said = past(*words, "--json")
        assert said.code in (1, 2)
        assert said.out == ""
        assert len(said.err.splitlines()) == 1
