"""The session: calls are journaled before they are answered, and an interrupt cuts through everything."""

import asyncio
from types import SimpleNamespace

import pytest

from engine.inbox import Inbox
from engine.record import events as ev
from engine.record.config import RunConfig
from engine.record.errors import Refused, ScorerError
from engine.record.journal import Journal
from engine.record.reader import Reader
from engine.record.run import RunFolder
from engine.session import Interrupted, LiveText, Session, ToolResult, cap


class Tool:
    """A tool that does what it is told."""

    def __init__(self, name, act):
        self.name, self.description, self.schema, self._act = name, "", {}, act

    async def run(self, session, arguments):
        return await self._act(session, arguments)


async def refuse(session, arguments):
    raise Refused("not like this")


async def break_down(session, arguments):
    raise ScorerError("no compiler")


async def hang(session, arguments):
    await asyncio.Event().wait()


async def shout(session, arguments):
    session.output("compiling\n")
    return ToolResult(True, "x" * 50_000, {"n": 1}, "artifacts/log")


@pytest.fixture
def session(tmp_path):
    folder = RunFolder(tmp_path)
    (tmp_path / "artifacts").mkdir()
    acts = {"refuse": refuse, "evaluate": break_down, "hang": hang, "shout": shout}
    with Journal.create(folder.journal, "s") as journal, Reader(folder.journal) as reader:
        made = Session(
            folder, RunConfig("p", "p"), SimpleNamespace(), journal, reader=reader, lineage=SimpleNamespace(),
            inbox=Inbox(journal, reader), tools={n: Tool(n, a) for n, a in acts.items()},
        )  # fmt: skip
        made.begin_turn(4)
        yield made


def finished(session):
    return [e.event() for e in session.reader.events(kinds=("tool_finished",))]


async def test_a_call_is_two_facts_and_its_text_is_capped(session):
    result = await session.call("shout", {"loud": True})
    assert len(result.text) < 17_000
    assert "characters left out" in result.text
    started = session.reader.events(kinds=("tool_started",))[0].event()
    assert started == ev.ToolStarted("t4.1", "shout", {"loud": True}, 4)
    assert finished(session)[0].call == "t4.1"
    assert finished(session)[0].log == "artifacts/log"
    assert session.reader.live()["output"][1] == ""


async def test_what_cannot_be_done_is_an_answer(session):
    assert await session.call("dance", {}) == ToolResult(
        False, "no tool 'dance'; there are: refuse, evaluate, hang, shout"
    )
    assert (await session.call("refuse", {})).text == "not like this"
    broken = await session.call("evaluate", {})
    assert broken.data == {"infrastructure": True}
    assert session.faults == 1


async def test_an_interrupt_ends_the_call_says_so_and_every_later_one_of_the_turn(session):
    call = asyncio.create_task(session.call("hang", {}))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    session.interrupt("ada interrupted")
    with pytest.raises(Interrupted, match="ada interrupted"):
        await call
    assert finished(session)[0].text == "interrupted: ada interrupted"
    with pytest.raises(Interrupted):
        await session.call("shout", {})
    session.begin_turn(5)
    assert (await session.call("shout", {})).ok


async def test_a_cancellation_that_is_no_interrupt_stays_one(session):
    call = asyncio.create_task(session.guard(asyncio.Event().wait()))
    await asyncio.sleep(0)
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call


async def keep(session, arguments):
    await asyncio.sleep(0)
    path = session.artifact("shell.log")
    path.write_text("x")
    return ToolResult(True, "", {"path": path})


async def test_calls_side_by_side_have_artifacts_of_their_own(session):
    session.tools["keep"] = Tool("keep", keep)
    results = await asyncio.gather(*(session.call("keep", {}) for _ in range(3)))
    assert [r.data["path"].name for r in results] == ["001-shell.log", "002-shell.log", "003-shell.log"]
    path = session.artifact("shell.log")
    path.write_text("x")
    assert session.artifact("shell.log") != path


def test_live_text_is_written_at_most_five_times_a_second_and_the_last_is_not_lost(session):
    now = [0.0]
    written = []
    journal = SimpleNamespace(live=lambda slot, text: written.append(text))
    live = LiveText(journal, lambda: now[0])
    for n in range(100):
        live.extend("output", f"{n} ")
        now[0] += 0.01
    assert 4 <= len(written) <= 6
    live.flush()
    assert written[-1].endswith("99 ")
    live.flush()
    live.clear("output")
    live.clear("output")
    assert written[-1] == ""
    assert written.count("") == 1


def test_a_cap_keeps_both_ends():
    text = cap("a" * 100 + "b" * 100, 20)
    assert text.startswith("a" * 10 + "\n")
    assert text.endswith("\n" + "b" * 10)
    assert cap("short") == "short"
