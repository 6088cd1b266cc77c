"""Reading a journal: what viewers, the command line and the engine's own resume look at.

Read-only, and cheap to poll: `mark()` changes exactly when something was written.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from engine.record import events as ev
from engine.record import words
from engine.record.commands import Command, from_row
from engine.record.frozen import dataclass
from engine.record.journal import connect
from engine.record.schema import MARKED, TALLIED, version_of
from engine.record.scores import Score

CACHE_KIB = 8000  # a viewer's page of attempts lies on more of the file than SQLite's own 2 MB hold


@dataclass(frozen=True, slots=True)
class Entry:
    """One event as it lies in the journal. `event()` decodes it."""

    seq: int
    at: float
    kind: str
    title: str
    data: str

    def event(self) -> ev.Event:
        """The typed fact."""
        return ev.decode(self.kind, self.data)


@dataclass(frozen=True, slots=True)
class Version:
    """A committed version. `active` when the head is it or descends from it."""

    version: int
    commit: str
    parent: int | None
    active: bool
    geomean_tflops: float | None
    verdict: str
    direction: str
    name: str
    created_at: float
    attempt: int
    ratio: float | None
    low: float | None
    high: float | None
    seq: int
    score: Score


@dataclass(frozen=True, slots=True)
class Attempt:
    """An evaluated candidate. `verdict` is None when it was never submitted."""

    attempt: int
    step: int
    parent: int | None
    direction: str
    name: str
    source_hash: str
    stage: str
    correct: bool
    geomean_tflops: float | None
    verdict: str | None
    ratio: float | None
    low: float | None
    high: float | None
    rounds: int | None
    reason: str
    version: int | None
    created_at: float
    seconds: float
    seq: int
    hypothesis: str
    log: str


@dataclass(frozen=True, slots=True)
class Alert:
    """An alert; open until `closed_at` is set."""

    alert: int
    at: float
    severity: str
    what: str
    name: str
    evidence: str
    closed_at: float | None
    closed_by: str | None
    closed_reason: str | None


@dataclass(frozen=True, slots=True)
class Intervention:
    """The supervisor's intervention and, once known, whether it helped."""

    intervention: int
    at: float
    level: str
    saw: str
    diagnosis: str
    directions: tuple[str, ...]
    helped: bool | None
    how: str | None
    seq: int


@dataclass(frozen=True, slots=True)
class Direction:
    """A direction and its latest state (see `DirectionChanged`)."""

    direction: str
    name: str
    source: str
    state: str
    why: str
    first_at: float
    at: float
    tried: int
    best_ratio: float | None


@dataclass(frozen=True, slots=True)
class Spend:
    """What the run has cost so far. `unpriced_calls` had a model without a known price."""

    usd: float
    input_tokens: int
    output_tokens: int
    cache_read_tokens: int
    cache_write_tokens: int
    calls: int
    unpriced_calls: int


@dataclass(frozen=True, slots=True)
class Engine:
    """The engine's last sign of life."""

    pid: int
    started: float
    boot: str
    host: str
    heartbeat_at: float
    state: str
    activity: str


@dataclass(frozen=True, slots=True)
class Hit:
    """A search result: the event, with the matching text clipped around the match by the caller."""

    seq: int
    at: float
    kind: str
    title: str


class Reader:
    """A read-only view of one journal. Not shared between threads."""

    def __init__(self, path: Path, *, cache_kib: int = CACHE_KIB) -> None:
        self.path = path
        self._db = connect(path, write=False)
        self._db.execute(f"PRAGMA cache_size = -{int(cache_kib)}")
        found = version_of(self._db)
        self._tallied, self._marked = found >= TALLIED, found >= MARKED

    def close(self) -> None:
        """Close the connection."""
        self._db.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self.close()

    def mark(self) -> tuple[int, int]:
        """Changes exactly when another connection wrote: (SQLite's data_version, last sequence number)."""
        version = int(self._db.execute("PRAGMA data_version").fetchone()[0])
        return version, self.last_seq()

    def last_seq(self) -> int:
        """The newest event's sequence number, 0 when there is none."""
        return int(self._db.execute("SELECT coalesce(max(seq), 0) FROM events").fetchone()[0])

    def meta(self, key: str) -> str | None:
        """A small fact about the run: schema, run, created_at, head, ..."""
        row = self._db.execute("SELECT value FROM meta WHERE key = ?", (key,)).fetchone()
        return None if row is None else str(row[0])

    def events(
        self, after: int = 0, *, before: int | None = None, kinds: Sequence[str] = (), limit: int = 1000
    ) -> list[Entry]:
        """Up to `limit` events with after < seq < before, oldest first."""
        where, args = _filter(after, before, kinds)
        sql = f"SELECT seq, at, kind, title, data FROM events WHERE {where} ORDER BY seq LIMIT ?"
        return [Entry(*row) for row in self._db.execute(sql, (*args, limit))]

    def tail(self, limit: int, *, before: int | None = None, kinds: Sequence[str] = ()) -> list[Entry]:
        """The newest `limit` events (before a sequence number), oldest first."""
        where, args = _filter(0, before, kinds)
        sql = f"SELECT seq, at, kind, title, data FROM events WHERE {where} ORDER BY seq DESC LIMIT ?"
        return [Entry(*row) for row in self._db.execute(sql, (*args, limit))][::-1]

    def entry(self, seq: int) -> Entry | None:
        """One event by its number."""
        row = self._db.execute("SELECT seq, at, kind, title, data FROM events WHERE seq = ?", (seq,)).fetchone()
        return None if row is None else Entry(*row)

    def seq_at(self, at: float) -> int:
        """The newest event written at or before a time (seconds since the epoch), 0 when there is none."""
        sql = "SELECT seq FROM events WHERE at <= ? ORDER BY at DESC, seq DESC LIMIT 1"
        row = self._db.execute(sql, (at,)).fetchone()
        return 0 if row is None else int(row[0])

    def head(self) -> int | None:
        """The incumbent's version number."""
        value = self.meta("head")
        return int(value) if value else None

    def versions(self) -> list[Version]:
        """Every version, oldest first, withdrawn ones too."""
        return [_version(row) for row in self._db.execute("SELECT * FROM versions ORDER BY version")]

    def version(self, number: int) -> Version | None:
        """One version by its number."""
        row = self._db.execute("SELECT * FROM versions WHERE version = ?", (number,)).fetchone()
        return None if row is None else _version(row)

    def incumbent(self) -> Version | None:
        """The best active version: the head."""
        head = self.head()
        return None if head is None else self.version(head)

    def attempts(self, *, before: int | None = None, limit: int = 1000) -> list[Attempt]:
        """The newest `limit` attempts (before a number), oldest first, without score vectors and diffs."""
        sql = f"SELECT {_ATTEMPT} FROM attempts WHERE attempt < ? ORDER BY attempt DESC LIMIT ?"
        rows = self._db.execute(sql, (before or 2**62, limit)).fetchall()
        return [_attempt(row) for row in rows[::-1]]

    def each_attempt(self) -> Iterator[Attempt]:
        """Every attempt, oldest first, one at a time: a week has more of them than should lie in memory."""
        yield from (_attempt(row) for row in self._db.execute(f"SELECT {_ATTEMPT} FROM attempts ORDER BY attempt"))

    def attempt(self, number: int) -> Attempt | None:
        """One attempt by its number."""
        row = self._db.execute(f"SELECT {_ATTEMPT} FROM attempts WHERE attempt = ?", (number,)).fetchone()
        return None if row is None else _attempt(row)

    def attempts_with(self, text: str, *, before: int | None = None, limit: int = 200) -> list[Attempt]:
        """The newest attempts before event `before` with all these words, in their diffs too; oldest first."""
        asked = words.words_of(text)
        if not asked:
            return []
        look = words.attempts if self._marked else words.attempts_unindexed
        numbers = look(self._db, asked, before or 2**62, limit)
        return [found for n in reversed(numbers) if (found := self.attempt(n)) is not None]

    def attempts_of(self, source_hash: str) -> list[Attempt]:
        """Every attempt with exactly these sources."""
        sql = f"SELECT {_ATTEMPT} FROM attempts WHERE source_hash = ? ORDER BY attempt"
        return [_attempt(row) for row in self._db.execute(sql, (source_hash,))]

    def attempt_score(self, number: int) -> Score | None:
        """An attempt's score vector."""
        row = self._db.execute("SELECT score FROM attempts WHERE attempt = ?", (number,)).fetchone()
        return None if row is None else _score(row[0])

    def attempt_diff(self, number: int) -> str:
        """An attempt's diff against its parent version."""
        row = self._db.execute("SELECT diff FROM attempts WHERE attempt = ?", (number,)).fetchone()
        return "" if row is None else str(row[0])

    def counts(self) -> tuple[int, int]:
        """How many versions and how many attempts there are."""
        if self._tallied:
            tally = dict(self.follow_kinds())
            return tally.get("version", 0), tally.get("attempt", 0)
        row = self._db.execute("SELECT (SELECT count(*) FROM versions), (SELECT count(*) FROM attempts)").fetchone()
        return int(row[0]), int(row[1])

    def baselines(self) -> dict[str, Score]:
        """The latest score vector of each baseline."""
        rows = self._db.execute("SELECT name, score FROM baselines ORDER BY name")
        return {name: _score(text) for name, text in rows}

    def alerts(self, *, open_only: bool = False) -> list[Alert]:
        """Alerts, newest first."""
        where = "WHERE closed_at IS NULL" if open_only else ""
        return [Alert(*row) for row in self._db.execute(f"SELECT * FROM alerts {where} ORDER BY alert DESC")]

    def interventions(self) -> list[Intervention]:
        """The supervisor's interventions, newest first."""
        rows = self._db.execute("SELECT * FROM interventions ORDER BY intervention DESC")
        return [_intervention(row) for row in rows]

    def interventions_before(self, seq: int) -> list[Intervention]:
        """The interventions before an event, as they stood: what was judged later is open. Newest first."""
        judged = "SELECT json_extract(data, '$.intervention') FROM events WHERE kind = ? AND seq >= ?"
        later = {int(row[0]) for row in self._db.execute(judged, (ev.InterventionJudged.kind, seq))}
        sql = "SELECT * FROM interventions WHERE seq < ? ORDER BY intervention DESC"
        found = [_intervention(row) for row in self._db.execute(sql, (seq,))]
        return [replace(i, helped=None, how=None) if i.intervention in later else i for i in found]

    def directions(self) -> list[Direction]:
        """Every direction with its latest state, in order of first mention."""
        return [Direction(*row) for row in self._db.execute("SELECT * FROM directions ORDER BY first_at")]

    def directions_before(self, seq: int) -> list[Direction]:
        """Every direction as it stood before an event (without `best_ratio`), in order of first mention."""
        if not self._marked:
            return list(_directions(self.tail(20_000, before=seq, kinds=("direction",))))
        last = "SELECT max(seq) FROM direction_changes WHERE direction = d.direction AND seq < ?"
        sql = (  # CROSS: each direction's last change is looked up; the other way round every change is read
            "SELECT c.direction, c.name, c.source, c.state, c.why, c.first_at, c.at, c.tried, NULL FROM directions d "
            "CROSS JOIN direction_changes c ON c.direction = d.direction "
            f"AND c.seq = ({last}) ORDER BY c.first_at"
        )
        return [Direction(*row) for row in self._db.execute(sql, (seq,))]

    def commands(self, *, limit: int = 100, states: Sequence[str] = ()) -> list[Command]:
        """The newest commands, oldest first."""
        where = f"WHERE state IN ({', '.join('?' * len(states))})" if states else ""
        sql = f"SELECT * FROM commands {where} ORDER BY command DESC LIMIT ?"
        return [from_row(row) for row in self._db.execute(sql, (*states, limit))][::-1]

    def spend(self) -> Spend:
        """What the run has cost so far."""
        return Spend(*self._db.execute("SELECT * FROM spend").fetchone()[1:])

    def spend_before(self, seq: int) -> Spend:
        """What the run had cost before an event; calls without a price count as in `spend`."""
        mark = "SELECT * FROM spend_marks WHERE seq < ? ORDER BY seq DESC LIMIT 1"
        marked = self._db.execute(mark, (seq,)).fetchone() if self._marked else None
        begin, *sums = marked or (0, 0.0, *[0] * 6)
        columns = ("input_tokens", "output_tokens", "cache_read_tokens", "cache_write_tokens")
        usd, later = "json_extract(data, '$.usd')", "kind = 'spent' AND seq > ? AND seq < ?"
        added = ", ".join(f"total(json_extract(data, '$.{c}'))" for c in columns)
        sql = f"SELECT total({usd}), {added}, count(*), count(*) - count({usd}) FROM events WHERE {later}"
        more = self._db.execute(sql, (begin, seq)).fetchone()
        return Spend(sums[0] + more[0], *(int(s + m) for s, m in zip(sums[1:], more[1:], strict=True)))

    def engine(self) -> Engine | None:
        """The engine's last sign of life, or None when none ever took the run."""
        row = self._db.execute("SELECT * FROM engine").fetchone()
        return None if row is None else Engine(*row[1:])

    def live(self) -> Mapping[str, tuple[float, str]]:
        """What is happening now: slot -> (time, text)."""
        return {slot: (at, text) for slot, at, text in self._db.execute("SELECT slot, at, text FROM live")}

    def undoable(self) -> tuple[int, int] | None:
        """The last head move that `undo` would take back: (before, after), or None."""
        sql = "SELECT before, after FROM heads WHERE undone = 0 AND cause != 'undo' ORDER BY seq DESC LIMIT 1"
        row = self._db.execute(sql).fetchone()
        return None if row is None else (int(row[0]), int(row[1]))

    def search(self, text: str, *, limit: int = 50) -> list[Hit]:
        """Full-text search: the newest matches, those with the words in their title first. Every word must occur.

        The last word may be the beginning of one when the text as it stands has fewer than `limit` matches. A rank
        looks at everything that matches before the first match is known (FTS5's bm25 counts all rows of each word),
        which over a week's million events is what a person would wait for.
        """
        asked = words.words_of(text)
        found = [Hit(*row) for row in words.matches(self._db, asked, limit)] if asked else []
        told = [sum(w.lower() in hit.title.lower() for w in asked) for hit in found]
        return [found[i] for i in sorted(range(len(found)), key=lambda i: -told[i])][:limit]

    def search_near(self, text: str, *, before: int | None = None, after: int | None = None) -> int | None:
        """The nearest event with these words before or after another; None when there is none."""
        asked = words.words_of(text)
        if not asked:
            return None
        if before is not None:
            return words.nearest(self._db, asked, "<", before)
        return words.nearest(self._db, asked, ">", after or 0)

    def follow_kinds(self) -> Iterator[tuple[str, int]]:
        """How many events there are of each kind."""
        counted = "SELECT kind, count(*) FROM events GROUP BY kind ORDER BY kind"
        yield from self._db.execute("SELECT kind, events FROM tally" if self._tallied else counted)


_ATTEMPT = (
    "attempt, step, parent, direction, name, source_hash, stage, correct, geomean_tflops, verdict, ratio, low, high, "
    "rounds, reason, version, created_at, seconds, seq, hypothesis, log"
)


def _attempt(row: Sequence[Any]) -> Attempt:
    values: list[Any] = [*row[:7], bool(row[7]), *row[8:]]
    return Attempt(*values)


def _directions(entries: Sequence[Entry]) -> Iterable[Direction]:
    """What the events of a journal without `direction_changes` come to."""
    found: dict[str, Direction] = {}
    for entry in entries:
        e = entry.event()
        if isinstance(e, ev.DirectionChanged):
            old = found.get(e.direction) or Direction(e.direction, "", e.source, "", "", entry.at, 0.0, 0, None)
            tried, why = old.tried + (e.state == "pursued"), e.why or old.why
            found[e.direction] = replace(old, name=e.name, state=e.state, why=why, at=entry.at, tried=tried)
    return found.values()


def _intervention(row: Sequence[Any]) -> Intervention:
    number, at, level, saw, diagnosis, directions, helped, how, seq = row
    given, whether = tuple(json.loads(directions)), None if helped is None else bool(helped)
    return Intervention(number, at, level, saw, diagnosis, given, whether, how, seq)


@lru_cache(maxsize=16)
def _score(text: str) -> Score:
    """The baselines' scores and the last attempt's are asked for after every event and hardly ever change."""
    return Score.from_json(json.loads(text))


def _version(row: Sequence[Any]) -> Version:
    number, commit, parent, active, *middle, score = row
    values: list[Any] = [number, commit, parent, bool(active), *middle, Score.from_json(json.loads(score))]
    return Version(*values)


def _filter(after: int, before: int | None, kinds: Sequence[str]) -> tuple[str, tuple[Any, ...]]:
    where, args = "seq > ?", [after]
    if before is not None:
        where += " AND seq < ?"
        args.append(before)
    if kinds:
        where += f" AND kind IN ({', '.join('?' * len(kinds))})"
    return where, (*args, *kinds)
