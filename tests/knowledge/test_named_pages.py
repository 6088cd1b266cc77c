"""The pages that the playbooks send their operator to: each one is shipped, and each shipped page is found by its words."""

from __future__ import annotations

import tomllib
from pathlib import Path

import pytest

from engine import knowledge

KERNELS = Path(__file__).resolve().parents[2] / "kernels"


def named_pages() -> dict[str, list[str]]:
    """Page id -> the directions that name it, over every playbook below kernels/."""
    named: dict[str, list[str]] = {}
    for path in sorted(KERNELS.glob("*/playbook/**/*.toml")):
        for page in tomllib.loads(path.read_text()).get("knowledge", []):
            named.setdefault(page, []).append(str(path.relative_to(KERNELS)))
    return named


@pytest.fixture
def shipped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    opened = knowledge.shipped()
    yield opened
    opened.close()


def test_every_page_that_a_direction_names_is_shipped(shipped: knowledge.Knowledge):
    ids = {page.id for page in shipped.pages()}
    named = named_pages()
    assert len(named) >= 10, "the directions name their pages"
    assert {page: where for page, where in named.items() if page not in ids} == {}


def test_every_named_page_can_be_read_and_has_its_figures(shipped: knowledge.Knowledge):
    for page in named_pages():
        text = shipped.read(page).text
        assert text.count("\n") >= 40, f"{page} is a stub"
        assert any(c.isdigit() for c in text), f"{page} has no figures"


@pytest.mark.parametrize(
    ("words", "page"),
    [
        ("how often does a row of 2048 keys rescale", "online-softmax"),
        ("exp polynomial degree error", "exp-approximations"),
        ("dynamic schedule heavy tiles first", "openmp-schedules"),
        ("interleaved pairs on a noisy machine", "measuring-on-noisy-machines"),
        ("register blocks of rows by vectors in the inner loop", "register-blocking"),
        ("grouped query heads share keys", "grouped-queries"),
    ],
)
def test_a_topic_is_found_by_its_words(shipped: knowledge.Knowledge, words: str, page: str):
    assert page in [hit.page for hit in shipped.search(words)][:3]
