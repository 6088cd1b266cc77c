"""Knowledge pages: markdown with TOML front matter between `+++` lines, cut into sections at `## `.

Without front matter a page's title is its first heading; a page always has an id, a title and sections.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from engine.record.errors import Refused
from engine.record.frozen import dataclass

FILE_LIMIT = 8 * 1024 * 1024
# A text without headings is cut into pieces of this many lines, so that a hit names a place in it.
PIECE_LINES = 120
_FRONT = re.compile(r"\A\+\+\+\s*\n(.*?\n)\+\+\+\s*\n", re.DOTALL)
_KEYS = ("id", "title", "claim", "source", "date", "hardware", "tags", "lesson", "evidence", "distilled")


@dataclass(frozen=True, slots=True)
class Section:
    """A part of a page; the part before the first heading has an empty title."""

    title: str
    text: str


@dataclass(frozen=True, slots=True)
class Page:
    """One page. `place` is shipped, run or person; `size` in bytes; `date` as written."""

    id: str
    title: str
    claim: str
    source: str
    date: str
    hardware: str
    tags: tuple[str, ...]
    sections: tuple[Section, ...]
    place: str
    path: Path
    size: int
    lesson: bool = False

    def text(self) -> str:
        """The whole page for reading, its facts first."""
        facts = {"claim": self.claim, "source": self.source, "date": self.date, "hardware": self.hardware}
        head = [f"# {self.title}", *(f"{name}: {value}" for name, value in facts.items() if value)]
        parts = [f"## {s.title}\n\n{s.text}" if s.title else s.text for s in self.sections]
        return "\n".join(head) + "\n\n" + "\n\n".join(parts)


def read_text(path: Path, limit: int = FILE_LIMIT) -> str:
    """A file's text. Refuses what is huge, binary or not UTF-8, with the reason."""
    try:
        size = path.stat().st_size
        if size > limit:
            raise Refused(f"{path} has {size:,} bytes, the limit is {limit:,}; add the part that matters")
        data = path.read_bytes()
    except OSError as error:
        raise Refused(f"{path}: {error.strerror}") from error
    if b"\0" in data:
        raise Refused(f"{path} is binary, not text")
    try:
        return data.decode("utf-8").removeprefix("\ufeff")
    except UnicodeDecodeError as error:
        raise Refused(f"{path} is not UTF-8 text (byte {error.start}); convert it first") from error


def read_page(path: Path, root: Path, place: str) -> Page:
    """The page in a file; its id defaults to the path below `root` without its ending."""
    text = read_text(path)
    facts: Mapping[str, Any] = {}
    if match := _FRONT.match(text):
        facts, text = _facts(match[1], path), text[match.end() :]
    default = str(path.relative_to(root).with_suffix(""))
    title, body = _titled(text, default)
    tags = facts.get("tags", [])
    words = {name: str(facts.get(name, "")) for name in ("claim", "source", "date", "hardware")}
    return Page(
        id=str(facts.get("id", default)),
        title=str(facts.get("title", title)),
        tags=tuple(map(str, tags)) if isinstance(tags, list) else (str(tags),),
        sections=sections_of(body),
        place=place,
        path=path,
        size=path.stat().st_size,
        lesson=bool(facts.get("lesson", False)),
        **words,
    )


def _facts(text: str, path: Path) -> dict[str, Any]:
    try:
        facts = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise Refused(f"{path}: the front matter is not TOML ({error})") from error
    if unknown := sorted(set(facts) - set(_KEYS)):
        raise Refused(f"{path}: unknown key {unknown[0]!r} in the front matter; known: {', '.join(_KEYS)}")
    return facts


def _titled(text: str, default: str) -> tuple[str, str]:
    """The first heading, when the text begins with one, and the rest."""
    if match := re.match(r"\s*# +(.+)\n?", text):
        return match[1].strip(), text[match.end() :]
    return default, text


def sections_of(text: str) -> tuple[Section, ...]:
    """Cut at `## ` headings outside code fences; a long part without headings is cut into pieces."""
    sections: list[Section] = []
    title, lines, fenced = "", list[str](), False
    for line in text.splitlines():
        fenced ^= line.lstrip().startswith("```")
        if not fenced and (match := re.match(r"## +(.+)", line)):
            sections += _pieces(title, lines)
            title, lines = match[1].strip(), []
        else:
            lines.append(line)
    return tuple(sections + _pieces(title, lines))


def _pieces(title: str, lines: list[str]) -> list[Section]:
    if not any(line.strip() for line in lines):
        return [Section(title, "")] if title else []
    if len(lines) <= 2 * PIECE_LINES:
        return [Section(title, "\n".join(lines).strip("\n"))]
    starts = range(0, len(lines), PIECE_LINES)
    named = [f"{title} " if title else "" for _ in starts]
    return [
        Section(
            f"{name}(lines {start + 1}-{min(start + PIECE_LINES, len(lines))})",
            "\n".join(lines[start : start + PIECE_LINES]),
        )
        for name, start in zip(named, starts, strict=True)
    ]
