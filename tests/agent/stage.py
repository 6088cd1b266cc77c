"""A stage for the agent: a real run folder, journal, inbox and Session, with tools that only count what they do."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from messages_server import MessagesServer, Reply

from engine.data import kernels_directory
from engine.inbox import Inbox
from engine.operators.agent.client import ModelClient
from engine.operators.agent.faults import Backoff
from engine.operators.agent.loop import Agent
from engine.record.config import Limits, ModelConfig, RunConfig
from engine.record.journal import Journal
from engine.record.reader import Reader
from engine.record.run import RunFolder
from engine.scorer import problem as problems
from engine.session import Session, ToolResult

QUICK = Backoff(base_s=0.001, cap_s=0.005)


class CountingTool:
    """Writes down what it was asked, and answers with `answer`."""

    description = "A tool of the tests."
    schema: Mapping[str, Any] = {"type": "object", "properties": {"n": {"type": "integer"}}, "required": []}

    def __init__(self, name: str, answer: Callable[[Mapping[str, Any]], str] = lambda a: f"did {a}") -> None:
        self.name, self.answer = name, answer
        self.done: list[Mapping[str, Any]] = []

    async def run(self, session: Session, arguments: Mapping[str, Any]) -> ToolResult:
        self.done.append(arguments)
        return ToolResult(True, self.answer(arguments))


class HangingTool(CountingTool):
    """Never answers; must be interrupted."""

    async def run(self, session: Session, arguments: Mapping[str, Any]) -> ToolResult:
        self.done.append(arguments)
        await asyncio.sleep(3600)
        raise AssertionError("it was not interrupted")


class BrokenTool(CountingTool):
    """Fails on its own account."""

    async def run(self, session: Session, arguments: Mapping[str, Any]) -> ToolResult:
        raise RuntimeError("a bug of the tool")


class Stage:
    """One run with an agent on it. `reopen()` is what a restart of the engine does."""

    def __init__(
        self,
        path: Path,
        url: str,
        *,
        limits: Limits | None = None,
        idle_s: float = 5.0,
        prices: dict[str, dict[str, float]] | None = None,
        backoff: Backoff = QUICK,
        **model: Any,
    ) -> None:
        folder = RunFolder(path / "run")
        if not folder.path.is_dir():
            for directory in (folder.path, folder.workspace, folder.artifacts):
                directory.mkdir()
            Journal.create(folder.journal, "run").close()
        self.folder, self.idle_s, self.backoff = folder, idle_s, backoff
        problem = kernels_directory() / "mha_cpu"
        self.config = RunConfig(
            problem="mha_cpu",
            problem_path=str(problem),
            operator="agent",
            limits=limits or Limits(),
            model=replace(ModelConfig(name="test-model", base_url=url), **model),
            prices=prices or {},
        )
        self.tools: dict[str, Any] = {
            t.name: t
            for t in (CountingTool("shell"), CountingTool("evaluate"), HangingTool("hang"), BrokenTool("boom"))
        }
        self._open()

    def _open(self) -> None:
        self.journal = Journal.open(self.folder.journal)
        self.reader = Reader(self.folder.journal)
        self.session = Session(
            self.folder,
            self.config,
            problems.load(self.config.problem_path),
            self.journal,
            reader=self.reader,
            lineage=None,  # type: ignore[arg-type]
            inbox=Inbox(self.journal, self.reader),
            tools=self.tools,
        )
        client = ModelClient(self.config.model, idle_s=self.idle_s, still_s=4 * self.idle_s, connect_s=1.0)
        self.agent = Agent(self.session, client=client, backoff=self.backoff)

    async def turn(self, count: int = 1) -> None:
        """Take turns."""
        for _ in range(count):
            self.session.begin_turn(self.session.turn + 1)
            await self.agent.turn(self.session)

    async def until(self, done: Callable[[], bool], *, most: int = 100) -> None:
        """Take turns until something holds."""
        for _ in range(most):
            if done():
                return
            await self.turn()
        raise AssertionError(f"not within {most} turns; last events: {[e.title for e in self.reader.tail(5)]}")

    async def reopen(self) -> None:
        """Close everything and open it again, as a new engine would."""
        await self.close()
        self._open()

    async def close(self) -> None:
        """Let go of everything."""
        await self.agent.close()
        self.reader.close()
        self.journal.close()

    def titles(self, kind: str) -> list[str]:
        """The titles of one kind of events."""
        return [e.title for e in self.reader.tail(1000, kinds=(kind,))]

    def results(self) -> list[dict[str, Any]]:
        """The tool results in the conversation."""
        blocks = [b for m in self.agent.history.messages for b in m["content"]]
        return [b for b in blocks if b["type"] == "tool_result"]

    def words(self) -> str:
        """All the user's words in the conversation."""
        texts = [
            b["text"] for m in self.agent.history.messages if m["role"] == "user" for b in m["content"] if "text" in b
        ]
        return "\n".join(texts)


async def eventually(done: Callable[[], bool], seconds: float = 10.0) -> None:
    """Wait until something holds."""
    for _ in range(int(seconds * 100)):
        if done():
            return
        await asyncio.sleep(0.01)
    raise AssertionError(f"it did not come within {seconds} s")


def spent_as_billed(stage: Stage, server: MessagesServer) -> bool:
    """Whether the journal's spend is what the server billed, of each kind of tokens."""
    s = stage.reader.spend()
    mine = (s.input_tokens, s.output_tokens, s.cache_read_tokens, s.cache_write_tokens)
    assert mine == tuple(server.billed.values()), (mine, server.billed)
    return True


def calls(count: int, name: str = "shell", *blocks: dict[str, Any]) -> list[Reply]:
    """Replies with one tool call each, numbered."""
    from messages_server import use

    return [Reply([*blocks, use(name, n=n)]) for n in range(count)]
