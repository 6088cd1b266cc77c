"""What a direction does to the sources: whole files, named blocks, parameters, plain replacements.

Pure: sources in, sources out. An edit that does not fit the sources is refused with a reason, never half done.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from difflib import SequenceMatcher

from engine.record.frozen import dataclass

Sources = Mapping[str, str]

_PARAMETER = r"^(?P<head>[ \t]*constexpr\s+[\w:]+\s+{name}\s*=\s*)(?P<value>[^;]+)(?P<tail>;)"
CONTEXT = 8
MOST_HUNKS = 12
_ANY_PARAMETER = re.compile(_PARAMETER.format(name=r"(?P<name>k[A-Z]\w*)"), re.MULTILINE)


@dataclass(frozen=True, slots=True)
class File:
    """The whole of `file` becomes `text`; the file is made when it is not there."""

    file: str
    text: str


@dataclass(frozen=True, slots=True)
class Clear:
    """`file` becomes empty when it is there: flags that a new kernel must not inherit."""

    file: str


@dataclass(frozen=True, slots=True)
class Block:
    """What lies between `// [block NAME]` and `// [end NAME]` in `file` becomes `text`."""

    file: str
    block: str
    text: str


@dataclass(frozen=True, slots=True)
class Set:
    """`constexpr TYPE parameter = …;` in `file` gets `value`, written as C++ writes it."""

    file: str
    parameter: str
    value: str


@dataclass(frozen=True, slots=True)
class Replace:
    """The one place in `file` that reads `find` reads `text` instead."""

    file: str
    find: str
    text: str


Edit = File | Clear | Block | Set | Replace


@dataclass(frozen=True, slots=True)
class Edited:
    """The sources after the edits, or None and why the first edit that failed does not fit."""

    sources: dict[str, str] | None
    reason: str = ""


def apply(sources: Sources, edits: Sequence[Edit]) -> Edited:
    """All of `edits` in their order, or none of them."""
    after = dict(sources)
    for edit in edits:
        old = after.get(edit.file)
        if isinstance(edit, File):
            after[edit.file] = edit.text
        elif isinstance(edit, Clear):
            after.update({edit.file: ""} if old else {})
        elif old is None:
            return Edited(None, f"there is no file {edit.file}")
        else:
            new, reason = _change(old, edit)
            if new is None:
                return Edited(None, f"{edit.file}: {reason}")
            after[edit.file] = new
    return Edited(after)


def parameters(sources: Sources) -> dict[str, str]:
    """Every `constexpr` parameter (kName) of the sources with its value as written; the first one counts."""
    found: dict[str, str] = {}
    for name in sorted(sources):
        for match in _ANY_PARAMETER.finditer(sources[name]):
            found.setdefault(match["name"], match["value"].strip())
    return found


def file_of(sources: Sources, parameter: str) -> str | None:
    """The file that defines a parameter, or None."""
    pattern = re.compile(_PARAMETER.format(name=re.escape(parameter)), re.MULTILINE)
    return next((name for name in sorted(sources) if pattern.search(sources[name])), None)


def changed(before: Sources, after: Sources) -> list[str]:
    """The files whose text differs, by name."""
    return sorted(name for name in {*before, *after} if before.get(name) != after.get(name))


def _change(text: str, edit: Block | Set | Replace) -> tuple[str | None, str]:
    if isinstance(edit, Block):
        return _block(text, edit)
    if isinstance(edit, Set):
        return _set(text, edit)
    count = text.count(edit.find)
    if count != 1:
        return None, f"{_brief(edit.find)!r} occurs {count} times, not once"
    return text.replace(edit.find, edit.text), ""


def _block(text: str, edit: Block) -> tuple[str | None, str]:
    name = re.escape(edit.block)
    pattern = re.compile(
        rf"(?P<open>^(?P<indent>[ \t]*)// \[block {name}\][ \t]*\n)(?P<body>.*?)(?P<close>^[ \t]*// \[end {name}\])",
        re.MULTILINE | re.DOTALL,
    )
    found = list(pattern.finditer(text))
    if len(found) != 1:
        return None, f"block {edit.block!r} occurs {len(found)} times, not once"
    match = found[0]
    body = _indented(edit.text, match["indent"])
    return text[: match.start("body")] + body + text[match.start("close") :], ""


def _set(text: str, edit: Set) -> tuple[str | None, str]:
    pattern = re.compile(_PARAMETER.format(name=re.escape(edit.parameter)), re.MULTILINE)
    found = list(pattern.finditer(text))
    if len(found) != 1:
        return None, f"parameter {edit.parameter} is defined {len(found)} times, not once"
    match = found[0]
    return text[: match.start("value")] + edit.value + text[match.end("value") :], ""


def _indented(text: str, indent: str) -> str:
    lines = text.strip("\n").splitlines()
    return "".join(f"{indent}{line}\n" if line.strip() else "\n" for line in lines)


def _brief(text: str) -> str:
    flat = " ".join(text.split())
    return flat if len(flat) <= 60 else flat[:59] + "…"


def hunks(before: str, after: str) -> list[tuple[str, str]] | None:
    """The change as replacements of texts that occur once, bottom up. None when writing the file whole is plainer."""
    old, new = before.splitlines(keepends=True), after.splitlines(keepends=True)
    opcodes = SequenceMatcher(None, old, new, autojunk=False).get_opcodes()
    found: list[tuple[str, str]] = []
    text = before
    for _, i1, i2, j1, j2 in reversed([o for o in opcodes if o[0] != "equal"]):
        spans = ((max(i1 - n, 0), min(i2 + n, len(old))) for n in range(CONTEXT + 1))
        span = next(((a, b) for a, b in spans if a < b and text.count("".join(old[a:b])) == 1), None)
        if span is None:
            return None
        a, b = span
        # What lies below i2 has been changed already; only the lines above and the change itself are old ones.
        find, put = "".join(old[a:b]), "".join([*old[a:i1], *new[j1:j2], *old[i2:b]])
        text = text.replace(find, put)
        found.append((find, put))
    return found if text == after and len(found) <= MOST_HUNKS else None
