"""The tools, one registry for every operator.

A tool always answers with a ToolResult; a call with wrong arguments is one with ok=False and a sentence.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from engine.session import Tool
from engine.tools.jobs import Jobs


def registry() -> dict[str, Tool]:
    """Every tool by name, in an order that never changes (a model's prompt cache depends on it)."""
    from engine.tools import files, knowledge, lineage, memory, scoring, shell

    jobs = Jobs()
    tools = (
        *shell.tools(jobs),
        *files.tools(),
        *scoring.tools(jobs),
        *lineage.tools(),
        *knowledge.tools(),
        *memory.tools(),
    )
    return {tool.name: tool for tool in tools}


def schemas(tools: Mapping[str, Tool]) -> list[dict[str, Any]]:
    """The tools as the Messages API and MCP describe them: name, description, input_schema."""
    return [{"name": t.name, "description": t.description, "input_schema": dict(t.schema)} for t in tools.values()]


async def stop_jobs(tools: Mapping[str, Tool]) -> None:
    """End every background job, so that the machine is free. For an interrupt, a pause and the end of a run."""
    jobs = getattr(tools.get("shell"), "jobs", None)
    if isinstance(jobs, Jobs):
        await jobs.stop()
