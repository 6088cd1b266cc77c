"""The external operator: one turn runs one call that an outside agent left at the desk.

One rule: the run stays the engine's: commands, pauses, limits and the gate act between two calls as they do
for any operator, and directions reach the agent with the next result.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Mapping
from typing import Any

from engine.operators.acknowledge import with_acknowledge
from engine.operators.agent import prompts
from engine.operators.external.desk import HOLD_S, Desk, Order, Outcome
from engine.record.errors import AvoError
from engine.session import Exhausted, Interrupted, Session, ToolResult
from engine.tools import schemas

POLL_S = 0.25
_INTRO = """\
An agent that speaks MCP can now work on this run. Start it with the server
    {command}
for example:
    claude -p "Improve the kernel." --output-format stream-json --verbose \\
        --mcp-config '{{"mcpServers": {{"avo": {{"command": "{python}", "args": {arguments}}}}}}}' \\
        --allowedTools "mcp__avo__*"
    codex exec --json -c 'mcp_servers.avo.command="{python}"' -c 'mcp_servers.avo.args={arguments}' \\
        "Improve the kernel."
"""


class Say:
    """The tool `say`: an outside agent's words for the person who watches."""

    name = "say"
    description = "Tell the person who watches what you think and what you are about to do, in a sentence or two."
    schema: Mapping[str, Any] = {
        "type": "object",
        "additionalProperties": False,
        "required": ["text"],
        "properties": {"text": {"type": "string", "minLength": 1, "maxLength": 10_000}},
    }

    async def run(self, session: Session, arguments: Mapping[str, Any]) -> ToolResult:
        """Put the words into the transcript."""
        text = arguments.get("text")
        if not isinstance(text, str) or not text.strip():
            return ToolResult(False, "say needs a text")
        session.say(text)
        return ToolResult(True, "said")


class External:
    """The operator `external`."""

    name = "external"

    def __init__(self, session: Session, *, hold_s: float = HOLD_S) -> None:
        session.tools = {**with_acknowledge(session.tools), Say.name: Say()}
        self._session = session
        about = {"tools": schemas(session.tools), "instructions": instructions(session)}
        self.desk = Desk(session.folder.path, about, lambda: session.activity, hold_s)
        self._listening = False
        self._last_command = max((c.command for c in session.reader.commands(limit=1)), default=0)

    async def turn(self, session: Session) -> None:
        """Run the next call; returns without one when a command wants the boundary."""
        if not self._listening:
            await self._listen(session)
        order = await self._next(session)
        if order is None:
            return
        try:
            result = await session.call(order.tool, order.arguments, call=f"t{session.turn}.{order.name}")
        except (Interrupted, asyncio.CancelledError):
            _settle(order, Outcome(False, "interrupted by the person; whether it took effect is unknown"))
            raise
        except (AvoError, Exhausted) as error:
            _settle(order, Outcome(False, str(error)))
            raise
        except Exception as error:
            _settle(order, Outcome(False, f"the tool itself failed: {type(error).__name__}: {error}"))
            raise
        directions = [prompts.direction(d) for d in session.inbox()]
        _settle(order, Outcome(result.ok, "\n\n".join([result.text or "(no output)", *directions])))

    async def close(self) -> None:
        """Stop listening."""
        await self.desk.close()

    async def _listen(self, session: Session) -> None:
        await self.desk.open()
        self._listening = True
        arguments = ["-m", "engine.operators.external", str(session.folder.path)]
        listed = "[" + ", ".join(f'"{a}"' for a in arguments) + "]"
        command = " ".join([sys.executable, *arguments])
        session.say(_INTRO.format(command=command, python=sys.executable, arguments=listed))

    async def _next(self, session: Session) -> Order | None:
        while self.desk.orders.empty():
            session.doing("waiting for the outside agent" if self.desk.clients else "no outside agent is at work")
            await session.guard(self.desk.wait(POLL_S))
            if self._commanded(session):
                return None
        return self.desk.orders.get_nowait()

    def _commanded(self, session: Session) -> bool:
        newest = max((c.command for c in session.reader.commands(limit=1)), default=0)
        fresh, self._last_command = newest > self._last_command, newest
        return fresh


def instructions(session: Session) -> str:
    """What an outside agent is told when it connects."""
    words = "\n".join(block["text"] for block in prompts.system_prompt(session))
    return (
        f"{words}\n\n# Here\nUse only these tools to change and measure the candidate. A call that takes long answers "
        "that it is still at work: call `wait` until its result comes. Use `say` to tell the person what you think."
    )


def _settle(order: Order, outcome: Outcome) -> None:
    if not order.outcome.done():
        order.outcome.set_result(outcome)
