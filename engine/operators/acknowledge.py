"""The tool `acknowledge`: how a model answers a direction, so that the person sees it obeyed or declined, and why."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from engine.session import Session, Tool, ToolResult


class Acknowledge:
    """Answers a direction that was handed over in this run."""

    name = "acknowledge"
    description = (
        "Answer a direction that you were given: obeyed, with what you will do about it, or declined, with the reason. "
        "The person sees your words. Attempts are filed under an obeyed direction until your plan's active item moves; "
        "give its item in the plan the direction's id."
    )
    schema: Mapping[str, Any] = {
        "type": "object",
        "additionalProperties": False,
        "required": ["direction", "obeyed", "words"],
        "properties": {
            "direction": {"type": "string", "description": "the direction's id, such as person-3"},
            "obeyed": {"type": "boolean"},
            "words": {"type": "string", "description": "one or two sentences for the person"},
        },
    }

    async def run(self, session: Session, arguments: Mapping[str, Any]) -> ToolResult:
        """Record the answer; an obeyed direction becomes the one pursued."""
        try:
            direction, obeyed, words = (arguments[name] for name in ("direction", "obeyed", "words"))
        except KeyError as missing:
            return ToolResult(False, f"acknowledge needs {missing}")
        if not isinstance(direction, str) or not isinstance(words, str) or not isinstance(obeyed, bool):
            return ToolResult(False, "acknowledge: direction and words are strings, obeyed is true or false")
        known = next((d for d in session.reader.directions() if d.direction == direction), None)
        if known is None or known.source not in ("person", "supervisor"):
            return ToolResult(False, f"no direction {direction!r} was given; its id stands in the direction's tag")
        session.answer(direction, obeyed=obeyed, words=words)
        if obeyed:
            session.pursue(direction, known.name, "person" if known.source == "person" else "supervisor", words)
        return ToolResult(True, f"{direction} is {'obeyed' if obeyed else 'declined'}")


def with_acknowledge(tools: Mapping[str, Tool]) -> dict[str, Tool]:
    """The run's tools and this one, for operators that a model drives."""
    return {**tools, Acknowledge.name: Acknowledge()}
