"""What a tool is: a name, a description, a schema, and a function that is only called with arguments that fit.

Whatever an operator gets wrong comes back as an answer with ok=False and a sentence; it is never raised.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from engine.record.errors import ConfigError, LineageError, Refused, RunNotFound, UsageError
from engine.session import ToolResult
from engine.tools.schema import violation

if TYPE_CHECKING:
    from engine.session import Session

Do = Callable[["Session", Mapping[str, Any]], Awaitable[ToolResult]]
# What the operator can mend by calling differently. Errors of the journal or the scorer are the engine's.
_ANSWERED = (Refused, LineageError, UsageError, RunNotFound, ConfigError)


@dataclass(slots=True)
class FunctionTool:
    """A tool made of a function. `schema` is a JSON schema of an object (see engine.tools.schema)."""

    name: str
    description: str
    schema: Mapping[str, Any]
    do: Do

    async def run(self, session: Session, arguments: Mapping[str, Any]) -> ToolResult:
        """Check the arguments, then do it."""
        if wrong := violation(arguments, self.schema):
            return ToolResult(False, f"{self.name}: {wrong}")
        try:
            return await self.do(session, arguments)
        except _ANSWERED as error:
            return ToolResult(False, str(error))
        except OSError as error:
            return ToolResult(False, f"{self.name}: {error.strerror or error}")


def parameters(required: tuple[str, ...] = (), **properties: Mapping[str, Any]) -> dict[str, Any]:
    """The schema of an object with these properties and no others."""
    return {
        "type": "object",
        "properties": {name: dict(value) for name, value in properties.items()},
        "required": list(required),
        "additionalProperties": False,
    }
