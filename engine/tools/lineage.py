"""lineage: the run's versions and attempts, for reading; `restore` puts a version's sources into the workspace."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from engine.record.errors import Refused, RunNotFound
from engine.record.reader import Attempt, Version
from engine.session import ToolResult
from engine.tools.tables import attempts_table, score_table, versions_table
from engine.tools.tool import FunctionTool, parameters

if TYPE_CHECKING:
    from engine.session import Session

# Calls and their answers are left out of a search: every search would find itself and its forerunners.
_CALLS = {"tool_started", "tool_finished", "knowledge"}
ACTIONS = ("log", "show", "diff", "restore", "attempts", "search")


def tools() -> tuple[FunctionTool, ...]:
    """lineage."""
    return (
        FunctionTool(
            "lineage",
            "What was committed and what was tried. log: the versions. show: one version or attempt (rev = v3, a17, "
            "best, seed) with its scores and diff. diff: the sources from rev to `to`. restore: put a version's "
            "sources into the workspace (rev = best, seed or vN); what lay there is kept under artifacts/. "
            "attempts: the newest n attempts with their outcome. search: attempts, verdicts, notes, plans and words "
            "on record that hold the text.",
            parameters(
                ("action",),
                action={"type": "string", "enum": list(ACTIONS)},
                rev={"type": "string", "maxLength": 20},
                to={"type": "string", "maxLength": 20, "default": "best"},
                n={"type": "integer", "minimum": 1, "maximum": 200, "default": 20},
                text={"type": "string", "maxLength": 500},
            ),
            _lineage,
        ),
    )


async def _lineage(session: Session, arguments: Mapping[str, Any]) -> ToolResult:
    action, n = arguments["action"], arguments.get("n", 20)
    if action == "log":
        return ToolResult(True, versions_table(session.reader.versions()[-n:]) or "no versions yet")
    if action == "attempts":
        return ToolResult(True, attempts_table(session.reader.attempts(limit=n)) or "no attempts yet")
    if action == "search":
        return _search(session, arguments.get("text") or arguments.get("rev", ""), n)
    rev = arguments.get("rev", "best")
    if action == "show":
        return _show(session, rev)
    version = version_of(session, rev).version
    if action == "restore":
        session.restore(version)
        return ToolResult(True, f"the workspace holds v{version}", {"version": version})
    to = version_of(session, arguments.get("to", "best")).version
    return ToolResult(True, session.lineage.diff(version, to) or f"v{version} and v{to} have the same sources")


def version_of(session: Session, rev: str) -> Version:
    """The version that `best`, `seed`, `vN` or `N` names."""
    word = rev.strip().lower()
    if word in {"best", "head", "incumbent"}:
        version = session.incumbent
    elif match := re.fullmatch(r"v?(\d{1,9})", "v0" if word == "seed" else word):
        version = session.reader.version(int(match[1]))
    else:
        raise Refused(f"{rev!r} names no version; say best, seed or vN")
    if version is None:
        raise RunNotFound(f"there is no version {rev}; `lineage` log lists those there are")
    return version


def _show(session: Session, rev: str) -> ToolResult:
    if match := re.fullmatch(r"a(\d{1,9})", rev.strip().lower()):
        attempt = session.reader.attempt(int(match[1]))
        if attempt is None:
            raise RunNotFound(f"there is no attempt {rev}; `lineage` attempts lists the newest")
        return ToolResult(True, _attempt_text(session, attempt), {"attempt": attempt.attempt})
    version = version_of(session, rev)
    diff = "" if version.parent is None else session.lineage.diff(version.parent, version.version)
    head = versions_table([version])
    table = score_table(version.score, None, session.reader.baselines())
    return ToolResult(True, "\n\n".join(t for t in (head, table, diff) if t), {"version": version.version})


def _attempt_text(session: Session, attempt: Attempt) -> str:
    score = session.reader.attempt_score(attempt.attempt)
    parts = [attempts_table([attempt]), attempt.hypothesis, attempt.reason]
    if score is not None:
        parts.append(score_table(score, session.incumbent, session.reader.baselines()))
    return "\n\n".join(p for p in (*parts, session.reader.attempt_diff(attempt.attempt)) if p)


def _search(session: Session, text: str, n: int) -> ToolResult:
    if not text.strip():
        raise Refused("search: text is empty; give the words to look for")
    found = session.reader.search(text, limit=10 * n)
    hits = [h for h in found if h.kind not in _CALLS][:n]
    lines = [f"#{h.seq} {h.kind}: {h.title}" for h in hits]
    return ToolResult(True, "\n".join(lines) or f"nothing on record holds {text!r}", {"hits": len(hits)})
