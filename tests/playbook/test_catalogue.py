"""The catalogue: strict about every key, and the shipped ones hold what they promise."""

import re
from pathlib import Path

import pytest
from playbook_toy import direction

from engine import knowledge
from engine.data import kernels_directory
from engine.operators.playbook.catalogue import KINDS, load
from engine.operators.playbook.conditions import check, parse
from engine.record.errors import ConfigError

SHIPPED = ("mha_cpu", "gqa_cpu", "mha_cuda", "gqa_cuda")


@pytest.mark.parametrize(
    ("text", "named"),
    [
        (direction("a") + "colour = 3", "unknown key 'colour'"),
        (direction("a").replace('kind = "algorithm"', 'kind = "magic"'), "kind = 'magic' is not one of"),
        (direction("a").replace("expects = 1.1", "expects = -1"), "expects = -1 is not a number"),
        (direction("a").replace("expects = 1.1", "expects = true"), "expects = True is not a number"),
        (direction("a").replace('hypothesis = "it helps"', ""), "'hypothesis' is missing"),
        (direction("A b"), "id = 'A b' is not lower-case"),
        (direction("a", more='[requires]\nfacts = ["cores"]'), "'cores' is not a condition"),
        (direction("a", more="[requires]\ncontains = ['(']"), "is not a regular expression"),
        (direction("a", more='[requires]\nafter = ["b"]'), "there is no direction 'b'"),
        (direction("a").replace('op = "block"', 'op = "paint"'), "edits 1: op = 'paint' is not one of"),
        (direction("a").replace('file = "attention.cpp"', 'file = "../x.cpp"'), "candidates are flat folders"),
        (direction("a").replace('text = "// gain: 1.5"', 'from = "../../secret"'), "leaves the playbook's folder"),
        (direction("a").replace('text = "// gain: 1.5"', ""), "needs its text, or 'from'"),
        (direction("a") + "\n[search]\nkTile = 4", "search: kTile = 4 is not a list"),
        ("id = ", "Invalid value"),
    ],
)
def test_what_makes_no_sense_is_named_with_file_and_key(tmp_path: Path, text: str, named: str) -> None:
    (tmp_path / "10-a.toml").write_text(text)
    with pytest.raises(ConfigError, match=re.escape(named)) as found:
        load(tmp_path)
    assert "10-a.toml" in str(found.value)


def test_an_id_may_be_used_once(tmp_path: Path) -> None:
    for name in ("10-a.toml", "11-b.toml"):
        (tmp_path / name).write_text(direction("same"))
    with pytest.raises(ConfigError, match="id 'same' is taken by"):
        load(tmp_path)


def test_a_playbook_includes_another_and_may_leave_some_out(tmp_path: Path) -> None:
    base, own = tmp_path / "base", tmp_path / "own"
    for folder in (base, own):
        folder.mkdir()
    (base / "10-a.toml").write_text(direction("a") + "\n[search]\nkA = [1, 2]")
    (base / "11-b.toml").write_text(direction("b"))
    (own / "10-c").mkdir()
    (own / "10-c" / "direction.toml").write_text(direction("c"))
    (own / "playbook.toml").write_text('include = ["../base"]\nomit = ["b"]\n[search]\nkB = [true]')
    book = load(own)
    assert [d.id for d in book.directions] == ["a", "c"]
    assert book.search == {"kA": ("1", "2"), "kB": ("true",)}


def test_an_include_that_leads_back_is_refused(tmp_path: Path) -> None:
    (tmp_path / "playbook.toml").write_text('include = ["."]')
    with pytest.raises(ConfigError, match="leads back to itself"):
        load(tmp_path)


@pytest.mark.parametrize("problem", SHIPPED)
def test_the_shipped_playbooks_load_and_their_pages_exist(problem: str) -> None:
    book = load(kernels_directory() / problem / "playbook")
    pages = {p.id for p in knowledge.shipped().pages()}
    missing = {(d.id, page) for d in book.directions for page in d.knowledge if page not in pages}
    assert not missing


def test_the_cpu_playbook_holds_at_least_25_directions_of_every_kind() -> None:
    book = load(kernels_directory() / "mha_cpu" / "playbook")
    assert len(book.directions) >= 25
    assert {d.kind for d in book.directions} == set(KINDS)
    assert sum(bool(d.requires.facts) for d in book.directions) >= 8
    assert all(d.keywords and d.knowledge for d in book.directions)


@pytest.mark.parametrize(
    ("text", "holds"),
    [
        ("machine.cores >= 2", True),
        ("machine.cores < 2", False),
        ("machine.avx512 == true", True),
        ("machine.avx512 != true", False),
        ("machine.name == epyc", True),
        ("machine.l9_kb > 3", None),
        ("machine.avx512 == 1", None),
    ],
)
def test_a_condition_holds_or_not_or_is_unknown(text: str, holds: bool | None) -> None:
    condition = parse(text)
    assert condition is not None
    facts = {"machine.cores": 2, "machine.avx512": True, "machine.name": "epyc"}
    assert check(condition, facts).holds is holds


@pytest.mark.parametrize("text", ["", "machine.cores", "a >= true", "1 == 2 == 3 or x", "a < word"])
def test_what_is_no_comparison_is_not_read_as_one(text: str) -> None:
    assert parse(text) is None or " or " in text
