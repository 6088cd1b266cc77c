"""A search for the beginning of a word finds what FTS5's own prefix finds, whatever the words are."""

from __future__ import annotations

import contextlib
import random
import sqlite3
from pathlib import Path

import pytest

from engine.record import events as ev
from engine.record.beginnings import WORDS, begun, every, words_of
from engine.record.journal import Journal
from engine.record.reader import Reader

TALK = "softmax rescale rescaled rescue Ärger 10 100 100x tile_m tileM tile naïve and or not near s"


@pytest.fixture(scope="module")
def journal(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("words") / "journal.db"
    chance = random.Random(7)
    with Journal.create(path, "a-run") as journal:
        journal.append(*(ev.Said(" ".join(chance.choices(TALK.split(), k=3))) for _ in range(300)))
        journal.append(*(ev.Said(f"needle{n} softmax") for n in range(WORDS + 10)))
    return path


@pytest.mark.parametrize(
    "text",
    ["r", "res", "rescale", "RESC", "softmax res", "res softmax", "1", "100", "ärg", "arg", "tile_", "tile_m", "naiv",
     "needle", "needle1", "softmax needle", "x", "softmax x", "or", "not n", "softmax s"],
)  # fmt: skip
def test_the_words_named_one_by_one_find_what_the_prefix_finds(journal: Path, text: str) -> None:
    words = words_of(text)
    with contextlib.closing(sqlite3.connect(f"{journal.as_uri()}?mode=ro", uri=True)) as db:
        rows = "SELECT rowid FROM search WHERE search MATCH ? ORDER BY rowid"
        found = db.execute(rows, (begun(db, words),)).fetchall()
        assert found == db.execute(rows, (every(words) + "*",)).fetchall()


def test_a_beginning_of_few_words_is_not_left_to_the_prefix(journal: Path) -> None:
    with contextlib.closing(sqlite3.connect(f"{journal.as_uri()}?mode=ro", uri=True)) as db:
        assert begun(db, ["softmax", "resca"]) == '"softmax" AND ("rescale" OR "rescaled")'
        assert begun(db, ["needle"]) == '"needle"*', "too many words begin so"


def test_the_reader_finds_beginnings_in_a_folder_that_it_may_not_write(journal: Path) -> None:
    before = sorted(p.name for p in journal.parent.iterdir())
    with Reader(journal) as reader:
        assert reader.search("resc")
        assert reader.search_near("resc", before=200) is not None
    assert sorted(p.name for p in journal.parent.iterdir()) == before
