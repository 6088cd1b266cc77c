"""Diffs: a unified diff as lines to draw, unified or side by side, with the words that changed marked.

Parsing and pairing are pure; syntax colours come as spans from `avo_tui.model.syntax`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from difflib import SequenceMatcher
from typing import Literal

from avo_tui.model.lines import EMPTY, Line, Row, Span, clean, clip, cut, fit, width_of
from engine.record.frozen import dataclass

Kind = Literal["file", "hunk", "same", "add", "del", "note"]
_HUNK = re.compile(r"@@ -(\d+)(?:,\d+)? \+(\d+)(?:,\d+)? @@ ?(.*)")
_WORD = re.compile(r"\w+|\s+|[^\w\s]")
_WORDS_LIMIT = 400  # letters; longer lines are marked whole


@dataclass(frozen=True, slots=True)
class DiffLine:
    """One line of a diff. `words` are the changed stretches (start, end) of `text`."""

    kind: Kind
    text: str
    path: str = ""
    old: int | None = None
    new: int | None = None
    words: tuple[tuple[int, int], ...] = ()


Colours = Mapping[tuple[str, str, int], Sequence[Span]]  # (side, path, line number) -> spans


def parse(text: str, *, ignore_space: bool = False) -> list[DiffLine]:
    """The lines of a unified diff, with paired deletions and additions compared word by word."""
    lines: list[DiffLine] = []
    path, old, new = "", 0, 0
    for raw in text.split("\n"):
        line = clean(raw)
        if line.startswith(("diff --git", "index ", "new file", "deleted file", "--- ")):
            continue
        if line.startswith("+++ "):
            path = line[4:].split("\t")[0].removeprefix("b/")
            lines.append(DiffLine("file", path, path))
        elif found := _HUNK.match(line):
            old, new = int(found[1]), int(found[2])
            lines.append(DiffLine("hunk", found[3], path, old, new))
        elif line.startswith("+"):
            lines.append(DiffLine("add", line[1:], path, None, new))
            new += 1
        elif line.startswith("-"):
            lines.append(DiffLine("del", line[1:], path, old, None))
            old += 1
        elif line.startswith(" "):
            lines.append(DiffLine("same", line[1:], path, old, new))
            old, new = old + 1, new + 1
        elif line.strip():
            lines.append(DiffLine("note", line, path))
    return _with_words(lines, ignore_space=ignore_space)


def counts(lines: Sequence[DiffLine]) -> tuple[int, int]:
    """Lines added and removed."""
    return sum(x.kind == "add" for x in lines), sum(x.kind == "del" for x in lines)


def _with_words(lines: list[DiffLine], *, ignore_space: bool) -> list[DiffLine]:
    out = list(lines)
    i = 0
    while i < len(out):
        dels = _run(out, i, "del")
        adds = _run(out, i + dels, "add")
        for a, b in zip(range(i, i + dels), range(i + dels, i + dels + min(dels, adds)), strict=False):
            out[a], out[b] = _compare(out[a], out[b], ignore_space=ignore_space)
        i += max(dels + adds, 1)
    return out


def _run(lines: Sequence[DiffLine], start: int, kind: Kind) -> int:
    n = 0
    while start + n < len(lines) and lines[start + n].kind == kind:
        n += 1
    return n


def _compare(old: DiffLine, new: DiffLine, *, ignore_space: bool) -> tuple[DiffLine, DiffLine]:
    """Mark the words in which two lines differ; nothing when they hardly resemble each other."""
    if ignore_space and old.text.split() == new.text.split():
        return replace(old, kind="same"), replace(new, kind="note", text="")
    if max(len(old.text), len(new.text)) > _WORDS_LIMIT:
        return old, new
    a, b = _WORD.findall(old.text), _WORD.findall(new.text)
    matcher = SequenceMatcher(None, a, b, autojunk=False)
    if matcher.ratio() < 0.4:
        return old, new
    codes = [code for code in matcher.get_opcodes() if code[0] != "equal"]
    gone, came = [(i1, i2) for _, i1, i2, _, _ in codes], [(j1, j2) for _, _, _, j1, j2 in codes]
    return replace(old, words=_stretches(a, gone)), replace(new, words=_stretches(b, came))


def _stretches(words: Sequence[str], changed: Sequence[tuple[int, int]]) -> tuple[tuple[int, int], ...]:
    """Changed words as stretches of letters. Blanks alone are left out: what was only moved along is no change."""
    at = _offsets(words)
    return tuple((at[i], at[j]) for i, j in changed if "".join(words[i:j]).strip())


def _offsets(words: Sequence[str]) -> list[int]:
    out = [0]
    for word in words:
        out.append(out[-1] + len(word))
    return out


def unified(lines: Sequence[DiffLine], width: int, *, colours: Colours, left: int = 0) -> list[Row]:
    """A row for each line, with line numbers; keys are ("hunk", n) on hunk heads and line places elsewhere."""
    digits = _digits(lines)
    rows: list[Row] = []
    for i, x in enumerate(lines):
        if x.kind == "note" and not x.text:
            continue
        if x.kind in ("file", "hunk", "note"):
            rows.append(Row(_banner(x, width), (x.kind, i)))
            continue
        mark, role = {"add": ("+", "add"), "del": ("-", "del"), "same": (" ", "")}[x.kind]
        gutter = f"{_number(x.old, digits)} {_number(x.new, digits)} "
        body = cut(_coloured(x, role, colours), left, width - len(gutter) - 1)
        line: Line = ((gutter, "quiet"), (mark, role), *body)
        if role:
            line = (*line, (" " * max(width - width_of(line), 0), role))
        rows.append(Row(line, ("line", i)))
    return rows


def side_by_side(lines: Sequence[DiffLine], width: int, *, colours: Colours, left: int = 0) -> list[Row]:
    """Old to the left, new to the right."""
    digits = _digits(lines)
    half = (width - 1) // 2
    rows: list[Row] = []
    i = 0
    while i < len(lines):
        x = lines[i]
        if x.kind in ("file", "hunk", "note"):
            if x.kind != "note" or x.text:
                rows.append(Row(_banner(x, width), (x.kind, i)))
            i += 1
            continue
        if x.kind == "same":
            pairs: list[tuple[DiffLine | None, DiffLine | None]] = [(x, x)]
            taken = 1
        else:
            dels = _run(lines, i, "del")
            adds = _run(lines, i + dels, "add")
            high = max(dels, adds)
            pairs = [
                (lines[i + n] if n < dels else None, lines[i + dels + n] if n < adds else None) for n in range(high)
            ]
            taken = dels + adds
        for n, (a, b) in enumerate(pairs):
            old = _half(a, "old", half, digits, colours, left)
            new = _half(b, "new", width - half - 1, digits, colours, left)
            rows.append(Row((*old, ("│", "faint"), *new), ("line", i + n)))
        i += taken
    return rows


def _half(x: DiffLine | None, side: str, width: int, digits: int, colours: Colours, left: int) -> Line:
    if x is None:
        return ((" " * width, ""),)
    role = {"add": "add", "del": "del"}.get(x.kind, "")
    gutter = _number(x.old if side == "old" else x.new, digits) + " "
    body = cut(_coloured(x, role, colours), left, width - len(gutter))
    line: Line = ((gutter, "quiet"), *body)
    return (*line, (" " * max(width - width_of(line), 0), role)) if role else fit(line, width)


def _digits(lines: Sequence[DiffLine]) -> int:
    return len(str(max((max(x.old or 0, x.new or 0) for x in lines), default=1)))


def _number(n: int | None, digits: int) -> str:
    return f"{n:>{digits}}" if n is not None else " " * digits


def _banner(x: DiffLine, width: int) -> Line:
    if x.kind == "file":
        return (("─ ", "faint"), (x.text, "strong"), (" ", ""), ("─" * max(width - len(x.text) - 3, 0), "faint"))
    if x.kind == "hunk":
        line = clip(((f" @@ {x.old} → {x.new} ", "hunk"), (x.text, "hunk")), width)
        return (*line, (" " * (width - width_of(line)), "hunk"))
    return ((x.text, "dim"),)


def _coloured(x: DiffLine, role: str, colours: Colours) -> Line:
    """The text with syntax roles, or with the change's role and its words."""
    if not role:
        side, number = ("new", x.new) if x.new is not None else ("old", x.old)
        spans = colours.get((side, x.path, number or 0))
        return tuple(spans) if spans else ((x.text, ""),)
    side, number = ("new", x.new) if role == "add" else ("old", x.old)
    spans = colours.get((side, x.path, number or 0)) or ((x.text, ""),)
    if not x.words:
        return tuple((text, f"{syntax}+{role}" if syntax else role) for text, syntax in spans) or EMPTY
    out: list[Span] = []
    at = 0
    for text, syntax in spans:
        for letter in text:
            changed = any(a <= at < b for a, b in x.words)
            here = f"{role}word" if changed else f"{syntax}+{role}" if syntax else role
            if out and out[-1][1] == here:
                out[-1] = (out[-1][0] + letter, here)
            else:
                out.append((letter, here))
            at += 1
    return tuple(out) or EMPTY
