"""The MCP server that an outside agent starts: it forwards calls to the run's engine and holds nothing itself."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path
from typing import Any

from engine import __version__
from engine.operators.external.desk import ask
from engine.record.errors import AvoError, RunNotFound, UsageError

WAIT = {
    "name": "wait",
    "description": "Fetch the result of a call that was still at work; without `call`, of the newest one.",
    "input_schema": {
        "type": "object",
        "additionalProperties": False,
        "required": [],
        "properties": {"call": {"type": "string", "description": "such as c12"}},
    },
}


async def server_for(folder: Path) -> Any:
    """An MCP server over one run's tools. Raises ConnectionError when no engine listens there."""
    try:
        from mcp import types
        from mcp.server import Server
    except ModuleNotFoundError as missing:
        raise UsageError("the MCP server needs its package: pip install 'avo-tui[mcp]'") from missing
    about = await ask(folder, {"op": "about"})

    async def list_tools(context: Any, parameters: Any) -> Any:
        return types.ListToolsResult(
            tools=[
                types.Tool(name=t["name"], description=t["description"], input_schema=t["input_schema"])
                for t in (*about["tools"], WAIT)
            ]
        )

    async def call_tool(context: Any, parameters: Any) -> Any:
        ok, text = await forward(folder, parameters.name, parameters.arguments or {})
        return types.CallToolResult(content=[types.TextContent(type="text", text=text)], is_error=not ok)

    return Server(
        "avo",
        version=__version__,
        instructions=about["instructions"],
        on_list_tools=list_tools,
        on_call_tool=call_tool,
    )


async def forward(folder: Path, tool: str, arguments: dict[str, Any]) -> tuple[bool, str]:
    """One call to the engine: whether it went well, and its text."""
    asked = {"op": "wait", **arguments} if tool == "wait" else {"op": "call", "tool": tool, "arguments": arguments}
    try:
        answer = await ask(folder, asked)
    except ConnectionError as gone:
        return False, str(gone)
    return bool(answer["ok"]), str(answer["text"])


async def serve(folder: Path) -> None:
    """Serve one agent on standard input and output until it leaves."""
    server = await server_for(folder)
    from mcp.server.stdio import stdio_server

    async with stdio_server() as (reading, writing):
        await server.run(reading, writing, server.create_initialization_options())


def main(arguments: list[str]) -> int:
    """`python -m engine.operators.external RUN_FOLDER`."""
    try:
        if len(arguments) != 1:
            raise UsageError("usage: python -m engine.operators.external RUN_FOLDER")
        folder = Path(arguments[0]).absolute()
        if not (folder / "journal.db").is_file():
            raise RunNotFound(f"{folder} is no run; 'avo runs' lists them")
        asyncio.run(serve(folder))
    except (AvoError, ConnectionError) as error:
        print(f"avo: {error}", file=sys.stderr)
        return 2
    return 0
