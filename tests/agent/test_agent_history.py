"""The conversation's log: what a kill leaves behind, and what is made of it."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import pytest
from messages_server import MessagesServer, Reply, say, think, use
from stage import CountingTool, Stage, calls, eventually

from engine.operators.agent.history import NEVER_RAN, UNKNOWN, History
from engine.operators.agent.reply import Reply as Whole
from engine.operators.agent.reply import Usage
from engine.session import Interrupted


def whole(*blocks: dict, stop: str = "tool_use") -> Whole:
    return Whole(tuple(blocks), stop, Usage())


def begun(folder: Path) -> History:
    history, _ = History.load(folder)
    history.begin("the card", model="m", fingerprint="f", reason="")
    return history


def test_the_messages_are_derived_from_the_log_again(tmp_path: Path) -> None:
    history = begun(tmp_path)
    call = use("shell", n=1)
    history.assistant(whole(think("so"), call))
    history.started(call["id"])
    history.result(call["id"], "fine", error=False)
    history.user("a direction", ["person-1"])
    history.usage(1234)
    again, repair = History.load(tmp_path)
    assert again.messages == history.messages
    assert (again.context_tokens, again.delivered, again.epoch) == (1234, {"person-1"}, 1)
    assert not (repair.torn or repair.cut_short or repair.never_ran)


def test_every_torn_tail_of_the_log_is_dropped(tmp_path: Path) -> None:
    history = begun(tmp_path)
    call = use("shell", n=1)
    history.assistant(whole(call))
    log = tmp_path / "epoch-1.jsonl"
    size = log.stat().st_size
    history.result(call["id"], "fine", error=False)
    data = log.read_bytes()
    for cut in range(size + 1, len(data)):
        log.write_bytes(data[:cut])
        again, repair = History.load(tmp_path)
        assert repair.torn and repair.never_ran == 1 and not again.open_calls()
        again.close()


def test_a_call_that_began_is_not_run_again_and_one_that_did_not_says_so(tmp_path: Path) -> None:
    history = begun(tmp_path)
    first, second = use("shell", n=1), use("shell", n=2)
    history.assistant(whole(first, second))
    history.started(first["id"])
    again, repair = History.load(tmp_path)
    contents = [b["content"] for b in again.messages[-1]["content"]]
    assert contents == [UNKNOWN, NEVER_RAN] and (repair.cut_short, repair.never_ran) == (1, 1)
    third, repair = History.load(tmp_path)
    assert third.messages == again.messages and not repair.cut_short


def test_an_epoch_whose_opening_was_not_written_does_not_count(tmp_path: Path) -> None:
    history = begun(tmp_path)
    history.user("hello")
    (tmp_path / "epoch-2.jsonl").write_bytes(b'{"k": "epoch", "n": 2')
    again, _ = History.load(tmp_path)
    assert again.epoch == 1 and again.messages == history.messages
    again.begin("the second card", model="m", fingerprint="f", reason="full")
    third, _ = History.load(tmp_path)
    assert third.epoch == 2 and len(third.messages) == 1


def test_lone_surrogates_and_empty_results_can_be_sent(tmp_path: Path) -> None:
    history = begun(tmp_path)
    history.user("half a pair: \ud83d")
    call = use("shell")
    history.assistant(whole(call))
    history.result(call["id"], " \n", error=False)
    json.dumps(history.messages, ensure_ascii=False).encode()
    assert history.messages[-1]["content"][0]["content"] == "(no output)"


async def test_a_restart_in_the_middle_of_a_tool_goes_on_without_running_it_again(tmp_path: Path) -> None:
    first = Reply([use("shell", n=1), use("hang"), use("shell", n=2)])
    with MessagesServer([first, *calls(2)]) as server:
        stage = Stage(tmp_path, server.url)
        task = asyncio.ensure_future(stage.turn())
        await eventually(lambda: bool(stage.tools["hang"].done))
        log = (tmp_path / "run/agent/epoch-1.jsonl").read_bytes()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        (tmp_path / "run/agent/epoch-1.jsonl").write_bytes(log)  # as kill -9 would have left it
        await stage.reopen()
        await stage.turn(2)
        assert [c.get("n") for c in stage.tools["shell"].done] == [1, 0, 1]
        assert len(stage.tools["hang"].done) == 1
        assert [r["content"] for r in stage.results()[1:3]] == [UNKNOWN, NEVER_RAN]
        assert not server.rejected
        assert "1 tool calls interrupted, 1 never begun" in stage.titles("warning")[-1]
        await stage.close()


async def test_an_interrupt_answers_the_open_calls_and_the_run_goes_on(tmp_path: Path) -> None:
    with MessagesServer([Reply([use("hang"), use("shell", n=1)]), *calls(1)]) as server:
        stage = Stage(tmp_path, server.url)
        task = asyncio.ensure_future(stage.turn())
        await eventually(lambda: bool(stage.tools["hang"].done))
        stage.session.interrupt("by lena")
        with pytest.raises(Interrupted):
            await task
        await stage.turn()
        assert [c["n"] for c in stage.tools["shell"].done] == [0]
        assert "Interrupted by the person" in stage.results()[0]["content"]
        assert not server.rejected
        await stage.close()


async def test_an_interrupt_discards_a_reply_in_progress(tmp_path: Path) -> None:
    from messages_server import Fault

    with MessagesServer(calls(2), faults=[None, Fault("stall", after=5)]) as server:
        stage = Stage(tmp_path, server.url, idle_s=30)
        await stage.turn()
        task = asyncio.ensure_future(stage.turn())
        await eventually(lambda: len(server.seen) == 2 and bool(server.seen[1].usage))
        stage.session.interrupt("by lena")
        with pytest.raises(Interrupted):
            await task
        await stage.turn()
        assert [c["n"] for c in stage.tools["shell"].done] == [0, 1] and not server.rejected
        await stage.close()


async def test_tools_that_do_not_exist_fail_or_get_wrong_arguments_are_answered(tmp_path: Path) -> None:
    script = [Reply([use("teleport", to="mars"), use("boom"), *(use("shell", n=i) for i in range(9))]), *calls(1)]
    with MessagesServer(script) as server:
        stage = Stage(tmp_path, server.url)
        await stage.turn(2)
        texts = [r["content"] for r in stage.results()]
        assert "no tool 'teleport'" in texts[0]
        assert "The tool itself failed: RuntimeError: a bug of the tool" in texts[1]
        assert texts[8:11] == ["Not executed: at most 8 tool calls in one reply. Send it again."] * 3
        assert not server.rejected
        await stage.close()


async def test_a_fault_of_the_engine_during_a_call_leaves_no_call_open(tmp_path: Path) -> None:
    from engine.record.errors import LineageError

    class Sick(CountingTool):
        async def run(self, session: object, arguments: object) -> object:  # type: ignore[override]
            raise LineageError("the repository is damaged")

    with MessagesServer([Reply([use("sick"), use("shell", n=1)]), *calls(1)]) as server:
        stage = Stage(tmp_path, server.url)
        stage.session.tools["sick"] = Sick("sick")  # type: ignore[index]
        with pytest.raises(LineageError):
            await stage.turn()
        await stage.turn()
        assert [c["n"] for c in stage.tools["shell"].done] == [0] and not server.rejected
        await stage.close()


async def test_changed_tools_begin_a_new_epoch(tmp_path: Path) -> None:
    with MessagesServer(calls(2, "shell", think("so"))) as server:
        stage = Stage(tmp_path, server.url)
        await stage.turn()
        stage.tools["extra"] = CountingTool("extra")
        await stage.reopen()
        await stage.turn()
        assert stage.agent.history.epoch == 2 and not server.rejected
        await stage.close()


async def test_a_model_that_only_talks_is_nudged_and_then_reported(tmp_path: Path) -> None:
    from engine.record.errors import OperatorError

    with MessagesServer([Reply([say(f"thinking aloud {i}")]) for i in range(12)]) as server:
        stage = Stage(tmp_path, server.url)
        with pytest.raises(OperatorError, match="answered 12 times in a row without using a tool"):
            await stage.turn(12)
        assert stage.words().count("That reply used no tool") == 11 and not server.rejected
        await stage.close()
