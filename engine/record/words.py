"""Words: full-text search over a journal, the newest match first. A search's last word may be the beginning of one.

One rule: what is found is what FTS5's own `word*` finds. That one gathers the rows of every word that begins so before
it knows the first, which in a week's million events a person waits for. Few words are named one by one instead, and
where many begin so the nearest events are read themselves: a beginning that common is among them.
Source: sqlite.org/fts5.html, "FTS5 Prefix Queries", "Unicode61 Tokenizer" and "The fts5vocab Virtual Table Module".
"""

from __future__ import annotations

import re
import sqlite3
import unicodedata
from typing import Any, Literal

from engine.record.events import BODY_LIMIT, decode

Index = Literal["search", "search_attempts"]
Bound = Literal["<", ">"]
Row = tuple[Any, ...]  # seq, at, kind, title
RANKED = 300  # so many of the newest matches of a search compete for the first places
NAMED = 24  # more words than these begin so: looking each up costs more than it saves
FEW = 50  # fewer events than these with a search's whole words are all read themselves
NEAR = 250  # so many events are read themselves for a beginning that many words have
_PLAIN = re.compile(r"[0-9a-z]+\Z")
_TOKEN = re.compile(r"[^\W_]+")


def words_of(text: str) -> list[str]:
    """The words of a search."""
    return re.findall(r"\w+", text)


def every(words: list[str]) -> str:
    """The FTS5 query for all of these words as they stand."""
    return " ".join(f'"{w}"' for w in words)


def begun(words: list[str]) -> str:
    """The FTS5 query for all of these words, the last of which may be a beginning: complete, and slow when common."""
    return every(words) + "*"


def named(db: sqlite3.Connection, words: list[str], index: Index = "search") -> str | None:
    """The same query with each word named that begins so; None when they are many, or of letters that are folded."""
    *whole, last = words
    known = _beginning_with(db, last.lower(), index)
    if not known:
        return None if known is None else every(words)
    either = " OR ".join(f'"{w}"' for w in known)
    return f"{every(whole)} AND ({either})" if whole else either


def matches(db: sqlite3.Connection, words: list[str], limit: int) -> list[Row]:
    """The newest events with all these words; the last may be a beginning when fewer than `limit` have it whole.

    At most `RANKED` or `limit` rows, whichever is more, newest first.
    """
    found = _matching(db, every(words), limit)
    if len(found) >= limit:
        return found
    if (few := _few(db, words)) is not None:
        return few
    if query := named(db, words):
        return _matching(db, query, limit)
    seen, whole_run = _seen_near(db, words, "<", 2**62)
    return seen if len(seen) >= limit or whole_run else _matching(db, begun(words), limit)


def nearest(db: sqlite3.Connection, words: list[str], bound: Bound, seq: int) -> int | None:
    """The nearest event with all these words before (<) or after (>) one; the last may be a beginning."""
    query = named(db, words)
    if query is None:
        seen, whole_run = _seen_near(db, words, bound, seq)
        if seen or whole_run:
            return int(seen[0][0]) if seen else None
    order = "DESC" if bound == "<" else "ASC"
    sql = f"SELECT rowid FROM search WHERE search MATCH ? AND rowid {bound} ? ORDER BY rowid {order} LIMIT 1"
    row = db.execute(sql, (query or begun(words), seq)).fetchone()
    return None if row is None else int(row[0])


def attempts(db: sqlite3.Connection, words: list[str], before: int, limit: int) -> list[int]:
    """The newest attempts' numbers before an event with all these words; the last may be a beginning."""
    last = "SELECT json_extract(data, '$.attempt') FROM events WHERE kind = 'attempt' AND seq < ? ORDER BY seq DESC"
    sql = (
        f"SELECT rowid FROM search_attempts WHERE search_attempts MATCH ? AND rowid <= ({last} LIMIT 1) "
        "ORDER BY rowid DESC LIMIT ?"
    )
    query = named(db, words, "search_attempts") or begun(words)
    return [int(row[0]) for row in db.execute(sql, (query, before, limit))]


def attempts_unindexed(db: sqlite3.Connection, words: list[str], before: int, limit: int) -> list[int]:
    """The same in a journal without `search_attempts`: among the newest 50,000 events with these words."""
    newest = "SELECT rowid FROM search WHERE search MATCH ? AND rowid < ? ORDER BY rowid DESC LIMIT 50000"
    sql = (
        f"SELECT json_extract(e.data, '$.attempt') FROM ({newest}) m JOIN events e ON e.seq = m.rowid "
        "WHERE e.kind = 'attempt' LIMIT ?"
    )
    return [int(row[0]) for row in db.execute(sql, (begun(words), before, limit))]


def _matching(db: sqlite3.Connection, query: str, limit: int) -> list[Row]:
    newest = "SELECT rowid FROM search WHERE search MATCH ? ORDER BY rowid DESC LIMIT ?"
    sql = f"SELECT seq, at, kind, title FROM events WHERE seq IN ({newest}) ORDER BY seq DESC"
    return db.execute(sql, (query, max(limit, RANKED))).fetchall()


def _few(db: sqlite3.Connection, words: list[str]) -> list[Row] | None:
    """The matches when few events have the whole words: those are all looked at. None when there are more."""
    *whole, last = words
    if not whole or not _PLAIN.match(last.lower()):
        return None
    found = db.execute("SELECT rowid FROM search WHERE search MATCH ? LIMIT ?", (every(whole), FEW)).fetchall()
    return _seen_near(db, words, "<", 2**62)[0] if len(found) < FEW else None


def _seen_near(db: sqlite3.Connection, words: list[str], bound: Bound, seq: int) -> tuple[list[Row], bool]:
    """Of the `NEAR` events nearest before or after one that have the whole words, those with the beginning.

    True with them when there are no more events to look through.
    """
    *whole, last = words
    order = "DESC" if bound == "<" else "ASC"
    rowids = f"SELECT rowid FROM search WHERE search MATCH ? AND rowid {bound} ? ORDER BY rowid {order} LIMIT {NEAR}"
    where, given = (f"seq IN ({rowids})", (every(whole), seq)) if whole else (f"seq {bound} ?", (seq,))
    sql = f"SELECT seq, at, kind, title, data FROM events WHERE {where} ORDER BY seq {order} LIMIT {NEAR}"
    rows = db.execute(sql, given).fetchall()
    found = [row[:4] for row in rows if _has_beginning(f"{row[3]}\n{_body(row)}", last.lower())]
    return found, len(rows) < NEAR and bool(_PLAIN.match(last.lower()))


def _body(row: Row) -> str:
    return decode(row[2], row[4]).body()[:BODY_LIMIT]


def _has_beginning(text: str, letters: str) -> bool:
    """Whether a word of the text, folded as the index folds it, begins with these letters; False for such it folds."""
    if not _PLAIN.match(letters):
        return False
    if not text.isascii():
        text = "".join(c for c in unicodedata.normalize("NFD", text) if not unicodedata.combining(c))
    return any(token.startswith(letters) for token in _TOKEN.findall(text.lower()))


def _beginning_with(db: sqlite3.Connection, letters: str, index: Index) -> list[str] | None:
    """The words of an index that begin with these letters; None when they are too many, or letters it may fold."""
    if not _PLAIN.match(letters):
        return None
    table = f"words_of_{index}"
    db.execute(f"CREATE VIRTUAL TABLE IF NOT EXISTS temp.{table} USING fts5vocab (main, {index}, instance)")
    found: list[str] = []
    after = letters
    while row := db.execute(f"SELECT term FROM {table} WHERE term >= ? LIMIT 1", (after,)).fetchone():
        word = str(row[0])
        if not word.startswith(letters):
            break
        if len(found) == NAMED:
            return None
        found.append(word)
        after = word + "\0"
    return found
