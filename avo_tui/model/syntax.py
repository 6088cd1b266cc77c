"""Syntax colours: source text as roles, line by line, through Pygments. Slow; call it in a thread."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import PurePosixPath

from avo_tui.model.lines import Span, clean

LIMIT = 400_000  # letters; larger files stay plain
_LEXERS = {".cu": "cuda", ".cuh": "cuda", ".cpp": "cpp", ".cc": "cpp", ".cxx": "cpp", ".h": "cpp", ".hpp": "cpp",
           ".c": "c", ".py": "python", ".toml": "toml", ".md": "markdown", ".json": "json", ".sh": "bash"}  # fmt: skip


def highlight(path: str, text: str) -> list[list[Span]]:
    """The spans of each line; a single plain span where the language is unknown."""
    lines = clean(text).split("\n")
    name = _LEXERS.get(PurePosixPath(path).suffix)
    if name is None or len(text) > LIMIT:
        return [[(line, "")] for line in lines]
    from pygments.lexers import get_lexer_by_name  # type: ignore[import-untyped]

    out: list[list[Span]] = [[]]
    for token, part in get_lexer_by_name(name, stripnl=False, ensurenl=False).get_tokens("\n".join(lines)):
        role = _role(str(token))
        pieces = part.split("\n")
        for i, piece in enumerate(pieces):
            if i:
                out.append([])
            if piece:
                out[-1].append((piece, role))
    return out


def _role(token: str) -> str:
    parts = token.split(".")[1:]
    if not parts:
        return ""
    if parts[:2] == ["Comment", "Preproc"] or parts[:2] == ["Comment", "PreprocFile"]:
        return "pre"
    if parts[:2] == ["Keyword", "Type"]:
        return "type"
    if parts[:2] == ["Name", "Function"]:
        return "fn"
    if parts[:2] in (["Name", "Class"], ["Name", "Builtin"]):
        return "type"
    if parts[:2] == ["Literal", "String"]:
        return "str"
    if parts[:2] == ["Literal", "Number"]:
        return "num"
    return {"Keyword": "kw", "Comment": "com"}.get(parts[0], "")


def colours_of(side: str, path: str, text: str) -> dict[tuple[str, str, int], Sequence[Span]]:
    """Spans by (side, path, line number from 1), as `avo_tui.model.diff` takes them."""
    return {(side, path, n): spans for n, spans in enumerate(highlight(path, text), 1)}
