"""Beginnings: full-text queries whose last word may be the beginning of one, answered from the newest match on.

One rule: the answer is what FTS5's own `word*` gives. That one gathers the rows of every word that begins so before it
knows the first, which in a week's million events a person waits for; the words named one by one come in order at once.
Source: sqlite.org/fts5.html, "FTS5 Prefix Queries" and "The fts5vocab Virtual Table Module".
"""

from __future__ import annotations

import re
import sqlite3
from typing import Literal

Index = Literal["search", "search_attempts"]
WORDS = 256  # more words than these begin so: then FTS5 gathers them itself
_PLAIN = re.compile(r"[0-9a-z]+\Z")


def words_of(text: str) -> list[str]:
    """The words of a search."""
    return re.findall(r"\w+", text)


def every(words: list[str]) -> str:
    """The FTS5 query for all of these words as they stand."""
    return " ".join(f'"{w}"' for w in words)


def begun(db: sqlite3.Connection, words: list[str], index: Index = "search") -> str:
    """The FTS5 query for all of these words, the last of which may be a beginning."""
    *whole, last = words
    known = _beginning_with(db, last.lower(), index)
    if not known:
        return every(words) + "*"
    either = " OR ".join(f'"{w}"' for w in known)
    return f"{every(whole)} AND ({either})" if whole else either


def _beginning_with(db: sqlite3.Connection, letters: str, index: Index) -> list[str]:
    """The words of an index that begin with these letters; none when they are too many, or letters it may fold."""
    if not _PLAIN.match(letters):
        return []
    table = f"words_of_{index}"
    db.execute(f"CREATE VIRTUAL TABLE IF NOT EXISTS temp.{table} USING fts5vocab (main, {index}, instance)")
    found: list[str] = []
    after = letters
    while row := db.execute(f"SELECT term FROM {table} WHERE term >= ? LIMIT 1", (after,)).fetchone():
        word = str(row[0])
        if not word.startswith(letters):
            break
        if len(found) == WORDS:
            return []
        found.append(word)
        after = word + "\0"
    return found
