"""An operator that does what a script says: one step a turn, so that tests drive real engines.

script.json in the run's folder is a list; each turn takes the next entry (past the end: Exhausted, or
from the start again when its last entry is "again"). An entry is a list of acts:

    ["write", "// speed: 2"]   ["evaluate", "quick"]   ["submit"]   ["restore", 0]   ["sleep", 0.5]
    ["inbox"]   ["raise"]   ["say", "words"]   ["offer", "a", "b"]   ["pursue", "a"]   ["climb"]   ["miss"]   ["profile"]
    ["variants", [2.0, "die"]]
    ["phases"]   ["real"]
"""

import asyncio
import json
from collections.abc import Mapping
from typing import Any

from engine.session import Evaluation, Exhausted, Session, ToolResult, Variant


class Evaluate:
    name, description, schema = "evaluate", "", {}

    async def run(self, session: Session, arguments: Mapping[str, Any]) -> ToolResult:
        done = await session.evaluate(arguments.get("suite", "quick"), hypothesis="it is faster")
        return ToolResult(done.score.correct, f"a{done.attempt} {done.score.stage}", {"attempt": done.attempt})


class Submit:
    name, description, schema = "submit", "", {}

    async def run(self, session: Session, arguments: Mapping[str, Any]) -> ToolResult:
        done = await session.submit(arguments.get("message", "a try"), "it is faster")
        return ToolResult(done.version is not None, f"{done.verdict}: {done.reason}", {"version": done.version})


class Sleep:
    name, description, schema = "sleep", "", {}

    async def run(self, session: Session, arguments: Mapping[str, Any]) -> ToolResult:
        await asyncio.sleep(arguments["seconds"])
        return ToolResult(True, "slept")


class Scripted:
    """The operator."""

    name = "scripted"

    def __init__(self, session: Session) -> None:
        self.script = json.loads((session.folder.path / "script.json").read_text())
        self.gave_up = False
        session.tools = {t.name: t for t in (Evaluate(), Submit(), Sleep())}

    async def turn(self, session: Session) -> None:
        index = session.turn - 1
        loop = self.script[-1] == "again"
        acts = self.script[:-1] if loop else self.script
        if index >= len(acts) and not loop:
            if self.gave_up:
                await self.do_inbox(session)
            self.gave_up = True
            raise Exhausted("the script is at its end")
        for act, *rest in acts[index % len(acts)]:
            await getattr(self, f"do_{act}")(session, *rest)

    async def do_write(self, session: Session, text: str) -> None:
        (session.workspace / "attention.cpp").write_text(text + "\n")

    async def do_evaluate(self, session: Session, suite: str = "quick") -> None:
        await session.call("evaluate", {"suite": suite})

    async def do_submit(self, session: Session) -> None:
        result = await session.call("submit", {})
        session.say(result.text)

    async def do_restore(self, session: Session, version: int) -> None:
        session.restore(version)

    async def do_sleep(self, session: Session, seconds: float) -> None:
        await session.call("sleep", {"seconds": seconds})

    async def do_say(self, session: Session, text: str) -> None:
        session.say(text)

    async def do_inbox(self, session: Session) -> None:
        for directive in session.inbox():
            session.say(f"{directive.source}: {directive.text}")
            session.answer(directive.id, obeyed="not" not in directive.text, words="as you wish")

    async def do_offer(self, session: Session, *ids: str) -> None:
        session.offer([(i, f"direction {i}", "because") for i in ids])

    async def do_pursue(self, session: Session, direction: str) -> None:
        session.pursue(direction, f"direction {direction}", "playbook", "its turn")

    async def do_variants(self, session: Session, speeds: list) -> None:
        """Several candidates side by side; says their paired ratios, or what went wrong."""
        for n, speed in enumerate(speeds):
            folder = session.workspace / "variants" / str(n)
            folder.mkdir(parents=True, exist_ok=True)
            (folder / "attention.cpp").write_text(f"// {speed}\n" if speed == "die" else f"// speed: {speed}\n")
        found = await session.evaluate_all(
            [Variant(f"variants/{n}", f"variant {n}", "", f"way-{n}") for n in range(len(speeds))]
        )
        session.say(json.dumps([f.paired_ratio if isinstance(f, Evaluation) else str(f) for f in found]))

    async def do_raise(self, session: Session) -> None:
        raise ValueError("a bug in the operator")

    async def do_miss(self, session: Session) -> None:
        """One honest try that does not pay."""
        await self.do_write(session, f"// speed: 0.5 turn {session.turn}")
        await self.do_evaluate(session, "quick")

    async def do_profile(self, session: Session) -> None:
        await session.profile()
        session.say(str(sorted(session.facts())))

    async def do_climb(self, session: Session) -> None:
        """One honest step up from the incumbent, a wrong one every third turn."""
        session.pursue(f"step-{session.turn}", f"step {session.turn}", "playbook", "up")
        mark = "// wrong" if session.turn % 3 == 2 else ""
        await self.do_write(session, f"// speed: {1 + session.turn * 0.2:.2f} {mark} turn {session.turn}")
        await self.do_evaluate(session, "quick")
        await self.do_submit(session)

    async def do_phases(self, session: Session) -> None:
        """A step up that takes a while in each phase: building, measuring, judging, a tool."""
        n = session.turn
        await self.do_write(session, f"// speed: {1 + n * 0.2:.2f}\n// build: 0.04\n// time: 0.03\n// turn {n}")
        await self.do_evaluate(session, "quick")
        await self.do_submit(session)
        await self.do_sleep(session, 0.1)

    async def do_real(self, session: Session) -> None:
        """Another real kernel each turn: the seed, with a number in a comment."""
        seed = (session.problem.seed / "attention.cpp").read_text()
        (session.workspace / "attention.cpp").write_text(f"// turn {session.turn}\n{seed}")
        await self.do_evaluate(session, "quick")
        await self.do_submit(session)


def create(session: Session) -> Scripted:
    return Scripted(session)
