"""plan and notes: what the operator remembers of its own. Both live in the journal and outlast every restart."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from engine.record import events as ev
from engine.session import ToolResult
from engine.tools.tool import FunctionTool, parameters

if TYPE_CHECKING:
    from engine.session import Session

NOTES_READ = 200
ALIKE = 0.85
_MARKS = {"pending": "[ ]", "active": "[>]", "done": "[x]", "dropped": "[-]"}
_ITEM = parameters(
    ("id", "text", "status"),
    id={"type": "string", "minLength": 1, "maxLength": 60},
    text={"type": "string", "minLength": 1, "maxLength": 1000},
    status={"type": "string", "enum": list(_MARKS)},
)


def tools() -> tuple[FunctionTool, ...]:
    """plan, notes."""
    return (
        FunctionTool(
            "plan",
            "Replace the plan by these items, in order. The person sees it; it is handed back after a restart.",
            parameters(("items",), items={"type": "array", "maxItems": 50, "items": _ITEM}),
            _plan,
        ),
        FunctionTool(
            "notes",
            "The run's notebook: append what later turns must know, or read it (the newest first; `text` filters).",
            parameters(
                ("action",),
                action={"type": "string", "enum": ["append", "read"]},
                text={"type": "string", "maxLength": 10_000, "default": ""},
            ),
            _notes,
        ),
    )


async def _plan(session: Session, arguments: Mapping[str, Any]) -> ToolResult:
    items = tuple((i["id"], i["text"], i["status"]) for i in arguments["items"])
    session.record(ev.PlanChanged(items))
    lines = [f"{_MARKS[status]} {text}" for _, text, status in items]
    lines += [line for _, text, status in items if status == "active" for line in _tried_before(session, text)]
    return ToolResult(True, "\n".join(lines) or "the plan is empty", {"items": len(items)})


def _tried_before(session: Session, text: str) -> list[str]:
    """What became of directions that read much like this one."""
    wanted = " ".join(text.lower().split())
    found = []
    for d in session.reader.directions():
        alike = difflib.SequenceMatcher(None, wanted, " ".join(d.name.lower().split()), autojunk=False)
        if (
            d.tried
            and d.direction != session.pursuit.id
            and alike.real_quick_ratio() >= ALIKE
            and alike.ratio() >= ALIKE
        ):
            ratio = f", best {d.best_ratio:.3f}x" if d.best_ratio else ""
            found.append(f"tried before: {d.name}: {d.state}, {d.tried} attempts{ratio}; `lineage` search shows them")
    return found


async def _notes(session: Session, arguments: Mapping[str, Any]) -> ToolResult:
    text = arguments.get("text", "").strip()
    if arguments["action"] == "append":
        if not text:
            return ToolResult(False, "notes: text is empty; say what to remember")
        session.record(ev.Noted(text))
        return ToolResult(True, "noted")
    notes = [e.event() for e in session.reader.tail(NOTES_READ, kinds=("note",))]
    found = [n.text for n in notes if isinstance(n, ev.Noted) and text.lower() in n.text.lower()]
    return ToolResult(True, "\n\n".join(reversed(found)) or "no notes", {"notes": len(found)})
