"""knowledge_search and knowledge_read: the knowledge base, each reading on record."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from engine.record import events as ev
from engine.session import ToolResult
from engine.tools.tool import FunctionTool, parameters

if TYPE_CHECKING:
    from engine.session import Session


def tools() -> tuple[FunctionTool, ...]:
    """knowledge_search, knowledge_read."""
    return (
        FunctionTool(
            "knowledge_search",
            "Search the knowledge base (guides, manuals, lessons of earlier runs); best first, with page, section and "
            "the matching words.",
            parameters(
                ("query",),
                query={"type": "string", "minLength": 1, "maxLength": 500},
                k={"type": "integer", "minimum": 1, "maximum": 30, "default": 8},
            ),
            _search,
        ),
        FunctionTool(
            "knowledge_read",
            "Read a page of the knowledge base, or one section of it.",
            parameters(
                ("page",),
                page={"type": "string", "minLength": 1, "maxLength": 300},
                section={"type": "string", "maxLength": 300, "default": ""},
            ),
            _read,
        ),
    )


async def _search(session: Session, arguments: Mapping[str, Any]) -> ToolResult:
    hits = session.knowledge.search(arguments["query"], limit=arguments.get("k", 8))
    session.record(ev.KnowledgeRead("", "", arguments["query"]))
    lines = [f"{h.page}{' § ' + h.section if h.section else ''} ({h.title})\n    {h.snippet}" for h in hits]
    data = {"hits": [{"page": h.page, "section": h.section, "title": h.title} for h in hits]}
    return ToolResult(True, "\n".join(lines) or "no page holds these words", data)


async def _read(session: Session, arguments: Mapping[str, Any]) -> ToolResult:
    passage = session.knowledge.read(arguments["page"], arguments.get("section", ""))
    session.record(ev.KnowledgeRead(passage.page, passage.section))
    return ToolResult(True, passage.text, {"page": passage.page, "section": passage.section})
