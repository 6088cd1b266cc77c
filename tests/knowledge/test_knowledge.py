"""The knowledge base: shipped pages are whole, words find sections, and a bad file never stops anything."""

from __future__ import annotations

from pathlib import Path

import pytest

from engine import knowledge
from engine.data import knowledge_directory
from engine.knowledge import Knowledge, Place
from engine.record.errors import Refused
from engine.record.run import RunFolder

PAGE = """+++
id = "online-softmax"
title = "Online softmax"
claim = "One pass over the keys suffices"
source = "arXiv 1805.02867"
date = "2018-05-08"
hardware = "any"
tags = ["softmax", "algorithm"]
+++
An introduction.

## Rescaling
Keep the running maximum and rescale the accumulator.

## Cost
```cpp
## not a heading
float correction = expf(old - new);
```
"""


@pytest.fixture
def base(tmp_path: Path):
    (tmp_path / "pages").mkdir()
    (tmp_path / "pages" / "softmax.md").write_text(PAGE)
    (tmp_path / "pages" / "loose.md").write_text("# Loose notes\n\nPrefetching the next tile hides latency.\n")
    opened = Knowledge((Place("shipped", tmp_path / "pages"), Place("person", tmp_path / "missing")))
    yield opened
    opened.close()


def test_a_page_has_its_facts_and_sections(base: Knowledge):
    page = next(p for p in base.pages() if p.id == "online-softmax")
    assert (page.title, page.claim, page.date) == ("Online softmax", "One pass over the keys suffices", "2018-05-08")
    assert (page.source, page.hardware, page.tags) == ("arXiv 1805.02867", "any", ("softmax", "algorithm"))
    assert [s.title for s in page.sections] == ["", "Rescaling", "Cost"]
    assert (page.place, page.lesson, page.size) == ("shipped", False, len(PAGE))


def test_a_page_without_front_matter_is_named_by_its_file(base: Knowledge):
    loose = next(p for p in base.pages() if p.id == "loose")
    assert (loose.title, loose.source) == ("Loose notes", "")


def test_words_find_the_section_that_holds_them(base: Knowledge):
    [hit, *_] = base.search("how do I keep a running maximum?")
    assert (hit.page, hit.section, hit.title, hit.source) == (
        "online-softmax",
        "Rescaling",
        "Online softmax",
        "arXiv 1805.02867",
    )
    assert "running maximum" in hit.snippet
    assert base.search("prefetched tiles")[0].page == "loose", "words are matched by their stem"


@pytest.mark.parametrize(
    "text", ["", "   ", '"', "NEAR(", "a AND OR NOT", "col:x *", "'; DROP TABLE sections; --", "\0", "é" * 5000]
)
def test_any_text_can_be_searched_for(base: Knowledge, text: str):
    assert isinstance(base.search(text), list)


def test_a_title_counts_more_than_a_mention(base: Knowledge, tmp_path: Path):
    (tmp_path / "pages" / "mention.md").write_text("# Other\n\n## A\nThe softmax softmax softmax.\n" + "word " * 50)
    assert base.search("softmax")[0].page == "online-softmax"


def test_a_page_is_read_whole_or_by_section(base: Knowledge):
    whole = base.read("online-softmax").text
    assert whole.startswith("# Online softmax\nclaim: One pass over the keys suffices\nsource: arXiv 1805.02867")
    section = base.read("Online Softmax", "resc")
    assert (section.page, section.section) == ("online-softmax", "Rescaling")
    assert "running maximum" in section.text and "expf" not in section.text


def test_an_unknown_page_or_section_is_answered_with_the_nearest(base: Knowledge):
    with pytest.raises(Refused, match=r"no page 'online-sofmax' .* nearest: online-softmax"):
        base.read("online-sofmax")
    with pytest.raises(Refused, match="has no section 'x'; sections: Rescaling, Cost"):
        base.read("online-softmax", "x")


def test_a_page_that_comes_changes_or_goes_is_noticed(base: Knowledge, tmp_path: Path):
    assert base.search("warp") == []
    new = tmp_path / "pages" / "deep" / "warps.md"
    new.parent.mkdir()
    new.write_text("# Warps\n\nA warp is 32 threads.\n")
    assert base.search("warp")[0].page == "deep/warps"
    new.write_text("# Warps\n\nA wave is 64 lanes wide.\n")
    assert base.search("lanes")[0].page == "deep/warps"
    new.unlink()
    assert base.search("lanes") == []


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"\x7fELF\0\0\0", "is binary, not text"),
        ("größer".encode("latin1"), "is not UTF-8 text"),
        (b"+++\ntitle = \n+++\n", "the front matter is not TOML"),
        (b"+++\nauthor = 'me'\n+++\n", "unknown key 'author' in the front matter"),
        (b"x" * (8 * 1024 * 1024 + 1), "the limit is 8,388,608"),
    ],
)
def test_a_bad_page_is_left_out_and_named(base: Knowledge, tmp_path: Path, content: bytes, reason: str):
    (tmp_path / "pages" / "bad.md").write_bytes(content)
    assert {p.id for p in base.pages()} == {"online-softmax", "loose"}
    [problem] = base.problems
    assert reason in problem and "bad.md" in problem


def test_a_long_text_without_headings_is_cut_into_places(base: Knowledge, tmp_path: Path):
    (tmp_path / "pages" / "manual.md").write_text("\n".join(f"line {n}" for n in range(500)) + "\nwgmma fence\n")
    [hit] = base.search("wgmma")
    assert (hit.page, hit.section) == ("manual", "(lines 481-501)")
    assert "line 480" in base.read("manual", hit.section).text


def test_a_run_reads_the_shipped_its_own_and_the_persons_pages(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    for place, word in (
        (tmp_path / "run" / "knowledge", "zebra"),
        (tmp_path / "data" / "avo" / "knowledge", "giraffe"),
    ):
        place.mkdir(parents=True)
        (place / f"{word}.md").write_text(f"# {word}\n\n{word} here\n")
    opened = knowledge.open_for(RunFolder(tmp_path / "run"))
    places = {p.id: p.place for p in opened.pages()}
    assert (places["zebra"], places["giraffe"]) == ("run", "person")
    assert "zebra" not in {p.id for p in knowledge.shipped().pages()}
    assert opened.search("giraffe")[0].page == "giraffe"
    opened.close()


def test_every_shipped_page_is_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    opened = knowledge.shipped()
    pages = opened.pages()
    assert opened.problems == ()
    assert len(pages) == len([p for p in knowledge_directory().rglob("*.md") if p.stem != "README"]), (
        "an id is used twice"
    )
    for page in pages:
        for fact in ("title", "claim", "source", "date", "hardware"):
            assert getattr(page, fact), f"{page.id} has no {fact}"
        assert page.sections
