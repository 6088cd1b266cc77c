"""The knowledge base: pages of text with a claim and a source, searched by words, read by section.

Three places, in this order: the shipped pages, the run's own, and the person's. A page that cannot be read
is left out and named in `problems`; it never stops a run.
"""

from __future__ import annotations

import difflib
import os
import re
import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from engine.data import knowledge_directory
from engine.knowledge_pages import Page, Section, read_page
from engine.record.errors import Refused
from engine.record.frozen import dataclass
from engine.record.run import RunFolder

SHIPPED, RUN, PERSON = "shipped", "run", "person"
# How much a word counts where it stands: page title, claim and tags, section title, text.
_WEIGHTS = (8.0, 4.0, 6.0, 1.0)
_COMMON = frozenset(
    re.findall(
        r"\w+",
        "a an and are as at be by can do for from has have how in into is it its not of on or that the this to use "
        "was what when where which why with you",
    )
)


@dataclass(frozen=True, slots=True)
class Hit:
    """A section that holds the words. `score` is larger for a better match."""

    page: str
    title: str
    section: str
    snippet: str
    source: str
    score: float


@dataclass(frozen=True, slots=True)
class Passage:
    """What was read: a page with its header, or one section of it."""

    page: str
    section: str
    text: str


@dataclass(frozen=True, slots=True)
class Place:
    """A folder of pages. `name`: shipped, run or person."""

    name: str
    path: Path


def personal_directory() -> Path:
    """Where the person's pages lie: $XDG_DATA_HOME/avo/knowledge (~/.local/share/avo/knowledge)."""
    data = os.environ.get("XDG_DATA_HOME") or "~/.local/share"
    return Path(data).expanduser().absolute() / "avo" / "knowledge"


def open_for(folder: RunFolder) -> Knowledge:
    """A run's knowledge base: shipped, its own, and the person's."""
    own = Place(RUN, folder.path / "knowledge")
    return Knowledge((Place(SHIPPED, knowledge_directory()), own, Place(PERSON, personal_directory())))


def shipped() -> Knowledge:
    """The knowledge base without a run: shipped and the person's pages."""
    return Knowledge((Place(SHIPPED, knowledge_directory()), Place(PERSON, personal_directory())))


class Knowledge:
    """Pages from several places; read again whenever a file came, went or changed."""

    def __init__(self, places: Sequence[Place]) -> None:
        self._places = tuple(places)
        self._stamp: frozenset[tuple[str, int, int]] | None = None
        self._pages: dict[str, Page] = {}
        self._index: sqlite3.Connection | None = None
        self.problems: tuple[str, ...] = ()

    def pages(self) -> list[Page]:
        """Every page, by id."""
        self._refresh()
        return sorted(self._pages.values(), key=lambda p: p.id)

    def search(self, text: str, *, limit: int = 8) -> list[Hit]:
        """Sections with any of the words, best first (BM25; titles and claims count more than text)."""
        words = [w for w in re.findall(r"\w+", text.lower()) if w not in _COMMON] or re.findall(r"\w+", text.lower())
        if not words:
            return []
        query = " OR ".join(f'"{w}"' for w in dict.fromkeys(words[:64]))
        rank = f"bm25(sections, 0, 0, {', '.join(map(str, _WEIGHTS))})"
        sql = (
            f"SELECT page, section_title, {rank} AS r, snippet(sections, 5, '', '', '…', 24) "
            "FROM sections WHERE sections MATCH ? ORDER BY r LIMIT ?"
        )
        return [self._hit(*row) for row in self._searchable().execute(sql, (query, limit))]

    def read(self, page: str, section: str = "") -> Passage:
        """A page, or the section whose title matches. Raises Refused with the nearest names when there is none."""
        found = self._find(page)
        if not section:
            return Passage(found.id, "", found.text())
        chosen = _section(found, section)
        return Passage(
            found.id, chosen.title, f"{found.title} § {chosen.title}\n(source: {found.source})\n\n{chosen.text}"
        )

    def close(self) -> None:
        """Let go of the index."""
        if self._index is not None:
            self._index.close()
            self._index = None

    def _find(self, name: str) -> Page:
        self._refresh()
        wanted = name.strip().removeprefix("knowledge/").removesuffix(".md")
        if wanted in self._pages:
            return self._pages[wanted]
        alike = [p for key, p in self._pages.items() if wanted.lower() in {key.lower(), p.title.lower()}]
        if len(alike) == 1:
            return alike[0]
        near = difflib.get_close_matches(wanted, self._pages, n=3, cutoff=0.3) or sorted(self._pages)[:3]
        raise Refused(f"no page {name!r} in the knowledge base; nearest: {', '.join(near) or 'none'}")

    def _hit(self, page: str, section: str, rank: float, snippet: str) -> Hit:
        found = self._pages[page]
        return Hit(page, found.title, section, " ".join(snippet.split()), found.source, -rank)

    def _refresh(self) -> None:
        """Read the pages again when the files are not those of the last time."""
        files = [(place, path) for place in self._places for path in _files(place.path)]
        stamp = frozenset((str(path), s.st_mtime_ns, s.st_size) for _, path in files for s in (path.stat(),))
        if stamp == self._stamp:
            return
        pages, problems = {}, []
        for place, path in files:
            try:
                page = read_page(path, place.path, place.name)
            except Refused as problem:
                problems.append(str(problem))
            else:
                pages[page.id] = page
        self._pages, self.problems, self._stamp = pages, tuple(problems), stamp
        self.close()

    def _searchable(self) -> sqlite3.Connection:
        self._refresh()
        if self._index is None:
            self._index = _indexed(self._pages.values())
        return self._index


def _files(directory: Path) -> Iterator[Path]:
    """Page files, sorted; README and hidden files are not pages."""
    if not directory.is_dir():
        return
    for path in sorted(directory.rglob("*.md")):
        inside = path.relative_to(directory).parts
        if path.is_file() and path.stem != "README" and not any(p.startswith(".") for p in inside):
            yield path


def _indexed(pages: Iterable[Page]) -> sqlite3.Connection:
    """A full-text index in memory: one row for each section."""
    index = sqlite3.connect(":memory:", isolation_level=None)
    index.execute(
        "CREATE VIRTUAL TABLE sections USING fts5 (page UNINDEXED, place UNINDEXED, page_title, about, section_title, "
        "body, tokenize = 'porter unicode61')"
    )
    rows = (
        (page.id, page.place, page.title, f"{page.claim} {' '.join(page.tags)} {page.id}", section.title, section.text)
        for page in pages
        for section in page.sections or (Section("", page.claim),)
    )
    index.execute("BEGIN")
    index.executemany("INSERT INTO sections VALUES (?, ?, ?, ?, ?, ?)", rows)
    index.execute("COMMIT")
    return index


def _section(page: Page, wanted: str) -> Section:
    """The section with this title, else the only one whose title holds the words."""
    word = wanted.strip().lower().lstrip("#").strip()
    exact = [s for s in page.sections if s.title.lower() == word]
    holding = exact or [s for s in page.sections if word in s.title.lower()]
    if len(holding) == 1 or exact:
        return holding[0]
    names = ", ".join(s.title for s in page.sections if s.title)
    raise Refused(f"{page.id} has no section {wanted!r}; sections: {names or 'none'}")
