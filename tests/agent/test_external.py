"""The external operator: an outside agent works on a run over MCP, and the run stays the engine's."""

from __future__ import annotations

import asyncio
import contextlib
import os
import stat
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from stage import Stage, eventually

from engine.operators.external.bridge import WAIT, forward, main, server_for
from engine.operators.external.desk import ask
from engine.operators.external.operator import External
from engine.record import commands
from engine.record.events import CommandChanged
from engine.session import Directive, Interrupted

ROOT = Path(__file__).parent.parent.parent


class Run:
    """An engine's loop around the external operator, no more than a test needs."""

    def __init__(self, path: Path, hold_s: float) -> None:
        self.stage = Stage(path, "http://127.0.0.1:9")
        self.session = self.stage.session
        self.operator = External(self.session, hold_s=hold_s)
        self.folder = self.stage.folder.path
        self.turns = 0

    async def work(self) -> None:
        while True:
            self.turns += 1
            self.session.begin_turn(self.turns)
            with contextlib.suppress(Interrupted):
                await self.operator.turn(self.session)


@contextlib.asynccontextmanager
async def running(path: Path, hold_s: float = 5.0) -> AsyncIterator[Run]:
    run = Run(path, hold_s)
    task = asyncio.ensure_future(run.work())
    await eventually((run.folder / "agent.sock").exists)
    try:
        yield run
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        await run.operator.close()
        await run.stage.close()


async def test_a_call_is_one_turn_and_its_result_comes_back(tmp_path: Path) -> None:
    async with running(tmp_path) as run:
        assert await forward(run.folder, "shell", {"n": 1}) == (True, "did {'n': 1}")
        ok, text = await forward(run.folder, "teleport", {})
        assert not ok and "no tool 'teleport'" in text
        assert run.stage.titles("tool_started") == ["shell n=1", "teleport"]
        assert await forward(run.folder, "say", {"text": "I try threads."}) == (True, "said")
        assert run.stage.titles("said")[-1] == "I try threads."


async def test_only_the_owner_can_connect(tmp_path: Path) -> None:
    async with running(tmp_path) as run:
        assert stat.S_IMODE((run.folder / "agent.sock").stat().st_mode) == 0o600


async def test_a_long_call_is_answered_in_time_and_fetched_later(tmp_path: Path) -> None:
    async with running(tmp_path, hold_s=0.1) as run:
        gate = asyncio.Event()
        slow = run.session.tools["shell"]
        done = slow.run

        async def run_slowly(session: Any, arguments: Any) -> Any:
            await gate.wait()
            return await done(session, arguments)

        slow.run = run_slowly  # type: ignore[method-assign]
        ok, text = await forward(run.folder, "shell", {"n": 7})
        assert ok and "still at work" in text and "call='c1'" in text
        gate.set()
        await eventually(lambda: bool(run.stage.tools["shell"].done))
        assert await forward(run.folder, "wait", {"call": "c1"}) == (True, "did {'n': 7}")
        assert await forward(run.folder, "wait", {}) == (True, "did {'n': 7}")
        ok, text = await forward(run.folder, "wait", {"call": "c99"})
        assert not ok and "no such call" in text
        assert len(slow.done) == 1


async def test_a_direction_comes_with_the_next_result_and_is_acknowledged(tmp_path: Path) -> None:
    async with running(tmp_path) as run:
        run.stage.journal.append(run.session._inbox.put(Directive("person-3", "person", "Use 64 rows.", 3)))
        _, text = await forward(run.folder, "shell", {"n": 1})
        assert text.endswith('<direction id="person-3" from="person">\nUse 64 rows.\n</direction>')
        arguments = {"direction": "person-3", "obeyed": False, "words": "They do not fit."}
        assert await forward(run.folder, "acknowledge", arguments) == (True, "person-3 is declined")
        states = [e.title.rsplit(": ", 1)[1] for e in run.stage.reader.tail(10, kinds=("direction",))]
        assert states == ["sent", "seen", "declined"]


async def test_an_interrupt_answers_the_call_and_the_next_one_works(tmp_path: Path) -> None:
    async with running(tmp_path) as run:
        task = asyncio.ensure_future(forward(run.folder, "hang", {}))
        await eventually(lambda: bool(run.stage.tools["hang"].done))
        run.session.interrupt("by lena")
        ok, text = await asyncio.wait_for(task, 5)
        assert not ok and "interrupted by the person" in text
        assert await forward(run.folder, "shell", {"n": 2}) == (True, "did {'n': 2}")


async def test_a_command_reaches_the_boundary_while_nobody_calls(tmp_path: Path) -> None:
    async with running(tmp_path) as run:
        turns = run.turns
        number = commands.send(run.stage.folder.journal, "pause", person="lena")
        await eventually(lambda: run.turns == turns + 1)
        run.stage.journal.answer(CommandChanged(number, "pause", "applied", "lena"))


async def test_malformed_lines_are_answered(tmp_path: Path) -> None:
    async with running(tmp_path) as run:
        for bad in ({}, {"op": "call"}, {"op": "call", "tool": "shell", "arguments": [1]}):
            answer = await ask(run.folder, bad)
            assert not answer["ok"]
        reader, writer = await asyncio.open_unix_connection(str(run.folder / "agent.sock"))
        writer.write(b"not json\n")
        assert b"malformed" in await reader.readline()
        writer.close()


async def test_without_an_engine_a_call_says_so(tmp_path: Path) -> None:
    ok, text = await forward(tmp_path, "shell", {})
    assert not ok and "no engine listens" in text


@pytest.mark.parametrize(("arguments", "why"), [([], "usage"), (["/nowhere"], "is no run")])
def test_the_server_refuses_what_is_no_run(arguments: list[str], why: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(arguments) == 2
    assert why in capsys.readouterr().err


async def test_the_official_client_finds_the_tools_and_uses_them(tmp_path: Path) -> None:
    mcp = pytest.importorskip("mcp")
    async with running(tmp_path) as run, mcp.Client(await server_for(run.folder)) as client:
        listed = (await client.list_tools()).tools
        assert [t.name for t in listed] == [*run.session.tools, WAIT["name"]]
        assert listed[0].input_schema == dict(run.session.tools["shell"].schema)
        result = await client.call_tool("shell", {"n": 1})
        assert not result.is_error and result.content[0].text == "did {'n': 1}"
        assert (await client.call_tool("teleport", {})).is_error


async def test_the_official_client_works_over_standard_input_and_output(tmp_path: Path) -> None:
    mcp = pytest.importorskip("mcp")
    async with running(tmp_path) as run:
        server = mcp.StdioServerParameters(
            command=sys.executable,
            args=["-m", "engine.operators.external", str(run.folder)],
            env={**os.environ, "PYTHONPATH": str(ROOT)},
        )
        async with mcp.Client(server) as client:
            result = await client.call_tool("shell", {"n": 5})
            assert result.content[0].text == "did {'n': 5}"
        assert len(run.stage.tools["shell"].done) == 1
