"""A search for the beginning of a word finds what FTS5's own prefix finds, whatever the words are."""

from __future__ import annotations

import contextlib
import random
import sqlite3
from pathlib import Path

import pytest

from engine.record import events as ev
from engine.record.journal import Journal
from engine.record.reader import Reader
from engine.record.words import NAMED, RANKED, every, named, words_of

TALK = "softmax rescale rescaled rescue Ärger 10 100 100x tile_m tileM tile naïve and or not near s"


@pytest.fixture(scope="module")
def journal(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("words") / "journal.db"
    chance = random.Random(7)
    with Journal.create(path, "a-run") as journal:
        journal.append(*(ev.Said(" ".join(chance.choices(TALK.split(), k=3))) for _ in range(300)))
        journal.append(*(ev.Said(f"needle{n} softmax") for n in range(NAMED + 300)))
    return path


@pytest.mark.parametrize(
    "text",
    ["r", "res", "rescale", "RESC", "softmax res", "res softmax", "1", "100", "ärg", "arg", "tile_", "tile_m", "naiv",
     "needle", "needle1", "softmax needle", "x", "softmax x", "or", "not n", "softmax s", "needle7", "n", "nai", "rescue needle", "needle7 needle"],
)  # fmt: skip
def test_what_is_found_is_what_the_prefix_finds(journal: Path, text: str) -> None:
    words = words_of(text)
    with Reader(journal) as reader, contextlib.closing(sqlite3.connect(journal)) as db:
        rows = [int(n) for (n,) in db.execute("SELECT rowid FROM search WHERE search MATCH ?", (every(words) + "*",))]
        exact = {int(n) for (n,) in db.execute("SELECT rowid FROM search WHERE search MATCH ?", (every(words),))}
        if query := named(db, words):
            assert [n for (n,) in db.execute("SELECT rowid FROM search WHERE search MATCH ?", (query,))] == rows
        found = [hit.seq for hit in reader.search(text)]
        assert len(found) == min(50, len(rows)) and set(found) <= set(rows)
        assert len(exact) >= 50 or set(found) <= set(sorted(rows)[-RANKED:])
        for seq in (0, 1, 100, 301, 400, 10_000):
            assert reader.search_near(text, before=seq) == max((n for n in rows if n < seq), default=None)
            assert reader.search_near(text, after=seq) == min((n for n in rows if n > seq), default=None)


def test_few_words_are_named_and_many_are_looked_for_in_the_events_themselves(journal: Path) -> None:
    with Reader(journal) as reader, contextlib.closing(sqlite3.connect(journal)) as db:
        assert named(db, ["softmax", "resca"]) == '"softmax" AND ("rescale" OR "rescaled")'
        assert named(db, ["needle"]) is None, "too many words begin so"
        assert reader.search_near("needle", before=400) == 399


def test_the_reader_finds_beginnings_and_leaves_the_folder_as_it_is(journal: Path) -> None:
    before = sorted(p.name for p in journal.parent.iterdir())
    with Reader(journal) as reader:
        assert reader.search("resc")
        assert reader.search_near("resc", before=200) is not None
    assert sorted(p.name for p in journal.parent.iterdir()) == before
