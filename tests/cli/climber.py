"""An operator for tests of the command line: four steps up, one wrong try, then it waits for directions.

CLIMBER_STEPS in the environment makes it climb on for that many.
"""

import asyncio
import os
from collections.abc import Mapping
from typing import Any

from engine.session import Session, ToolResult


class Evaluate:
    name, description, schema = "evaluate", "", {}

    async def run(self, session: Session, arguments: Mapping[str, Any]) -> ToolResult:
        done = await session.evaluate("full", hypothesis=arguments["hypothesis"])
        return ToolResult(done.score.correct, done.score.stage)


class Submit:
    name, description, schema = "submit", "", {}

    async def run(self, session: Session, arguments: Mapping[str, Any]) -> ToolResult:
        done = await session.submit(arguments["message"], arguments["message"])
        return ToolResult(done.version is not None, done.reason)


class Climber:
    name = "climber"

    def __init__(self, session: Session) -> None:
        session.tools = {t.name: t for t in (Evaluate(), Submit())}

    async def turn(self, session: Session) -> None:
        for directive in session.inbox():
            session.answer(directive.id, obeyed="never" not in directive.text, words="as you wish")
        turn = session.turn
        if session.reader.counts()[0] > int(os.environ.get("CLIMBER_STEPS", "4")):
            await asyncio.sleep(0.1)
            return
        session.pursue(f"step-{turn}", f"a wider tile {turn}", "playbook", "the profile says so")
        wrong = "// wrong" if turn == 2 else ""
        (session.workspace / "attention.cpp").write_text(f"// speed: {1 + turn} {wrong}\n")
        await session.call("evaluate", {"hypothesis": f"tile {turn} doubles it"})
        if not wrong:
            await session.call("submit", {"message": f"a wider tile {turn}"})


def create(session: Session) -> Climber:
    return Climber(session)
