"""What would end a run of days, and does not: a history that is refused, limits of a model, a full disk, a torn log."""

from __future__ import annotations

import resource
import time
from collections.abc import Iterator
from contextlib import contextmanager
from email.utils import formatdate
from pathlib import Path

import httpx2
import pytest
from messages_server import MessagesServer, Reply, say, think, use
from messages_server.faults import status
from stage import CountingTool, Stage, calls

from engine.operators.agent.faults import _retry_after
from engine.operators.agent.history import NEVER_RAN, UNKNOWN, History
from engine.operators.agent.ledger import CacheWatch
from engine.operators.agent.reply import Reply as Whole
from engine.operators.agent.reply import Usage
from engine.operators.agent.window import Window
from engine.record.config import Limits
from engine.record.errors import OperatorError


@pytest.mark.parametrize("stop", ["end_turn", "max_tokens"])
async def test_a_reply_that_ends_in_thinking_does_not_end_the_conversation(stop: str, tmp_path: Path) -> None:
    script = [
        Reply([think("I wonder")], stop),
        Reply([say("so"), think("but")], stop),
        *calls(2, "shell", think("now")),
    ]
    with MessagesServer(script) as server:
        stage = Stage(tmp_path, server.url)
        await stage.turn(4)
        assert len(stage.tools["shell"].done) == 2 and not server.rejected
        assert stage.agent.history.epoch == 1
        await stage.close()


@pytest.mark.parametrize(
    "said",
    [
        "input length and `max_tokens` exceed context limit: 190000 + 32000 > 200000, decrease input length",
        "messages.7.content.0: `tool_use` ids were found without `tool_result` blocks immediately after: toolu_1",
        "messages.3: The final block in an assistant message cannot be `thinking`.",
        "messages.1.content.0.type: Expected `thinking`, but found `text`. When thinking is enabled, a final assistant",
    ],
)
async def test_a_history_that_is_refused_is_left_behind_for_a_new_conversation(said: str, tmp_path: Path) -> None:
    with MessagesServer(calls(2), faults=[None, status(400, said)]) as server:
        stage = Stage(tmp_path, server.url)
        await stage.until(lambda: len(stage.tools["shell"].done) == 2)
        assert stage.agent.history.epoch == 2 and not server.rejected
        assert "thinking" in server.bodies[-1]
        await stage.close()


async def test_a_reply_is_no_longer_than_the_model_and_the_window_allow(tmp_path: Path) -> None:
    with MessagesServer(calls(1), longest_reply=8_192) as server:
        stage = Stage(tmp_path, server.url)
        await stage.turn()
        assert server.bodies[-1]["max_tokens"] == 8_192 and not server.rejected
        await stage.close()
    assert Window(20_000).reply(32_000, 64_000) == 4_000
    assert Window(200_000).reply(32_000, None) == 32_000


async def test_a_server_that_tells_its_longest_reply_only_when_it_refuses_is_heeded(tmp_path: Path) -> None:
    too_long = status(400, "max_tokens: 32000 > 4096, which is the maximum allowed number of output tokens for m")
    with MessagesServer(calls(2), faults=[too_long]) as server:
        stage = Stage(tmp_path, server.url)
        await stage.turn(3)
        assert [b["max_tokens"] for b in server.bodies] == [32_000, 4_096, 4_096]
        assert len(stage.tools["shell"].done) == 2
        await stage.close()


def test_the_servers_wish_is_a_number_or_a_date() -> None:
    assert _retry_after(httpx2.Headers({"retry-after": "7"})) == 7
    assert _retry_after(httpx2.Headers({"retry-after-ms": "250"})) == 0.25
    wish = _retry_after(httpx2.Headers({"retry-after": formatdate(time.time() + 60, usegmt=True)}))
    assert wish is not None and 50 <= wish <= 61


@pytest.mark.parametrize("value", ["inf", "nan", "soon", ""])
def test_a_wish_that_is_no_time_is_none(value: str) -> None:
    assert _retry_after(httpx2.Headers({"retry-after": value})) is None


@contextmanager
def no_room_beyond(bytes_: int) -> Iterator[None]:
    """Files of this process cannot grow beyond so many bytes: what a full disk does to a write."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (bytes_, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_a_full_disk_leaves_no_half_record_and_the_log_goes_on_when_there_is_room(tmp_path: Path) -> None:
    history, _ = History.load(tmp_path)
    history.begin("the card", model="m", fingerprint="f", reason="")
    call = use("shell", n=1)
    history.assistant(Whole((call,), "tool_use", Usage()))
    log = tmp_path / "epoch-1.jsonl"
    with no_room_beyond(log.stat().st_size + 20), pytest.raises(OperatorError, match="make room and resume"):
        history.result(call["id"], "a long answer " * 100, error=False)
    assert log.read_bytes().endswith(b"}\n") and history.open_calls() == [call["id"]]
    history.result(call["id"], "fine", error=False)
    again, repair = History.load(tmp_path)
    assert again.messages == history.messages and not repair.torn


async def test_calls_that_a_full_disk_left_open_are_answered_before_the_next_request(tmp_path: Path) -> None:
    with MessagesServer([Reply([use("fills"), use("shell", n=9)]), *calls(1)]) as server:
        stage = Stage(tmp_path, server.url)
        log = tmp_path / "run/agent/epoch-1.jsonl"
        limits = resource.getrlimit(resource.RLIMIT_FSIZE)

        class Filling(CountingTool):
            async def run(self, session: object, arguments: object) -> object:  # type: ignore[override]
                from engine.session import ToolResult

                stage.journal.close()  # its own writes would meet the limit first
                resource.setrlimit(resource.RLIMIT_FSIZE, (log.stat().st_size + 10, limits[1]))
                return ToolResult(True, "done")

        stage.session.tools["fills"] = Filling("fills")  # type: ignore[index]
        try:
            with pytest.raises(Exception):  # noqa: B017 the journal or the log, whichever is written first
                await stage.turn()
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        await stage.agent.close()
        stage._open()
        await stage.turn()
        assert [c["n"] for c in stage.tools["shell"].done] == [0]
        assert [r["content"] for r in stage.results()[:2]] == [UNKNOWN, NEVER_RAN]
        assert not server.rejected
        await stage.close()


async def test_a_damaged_log_costs_the_conversation_and_not_the_run(tmp_path: Path) -> None:
    with MessagesServer(calls(3)) as server:
        stage = Stage(tmp_path, server.url)
        await stage.turn(2)
        log = tmp_path / "run/agent/epoch-1.jsonl"
        lines = log.read_bytes().split(b"\n")
        log.write_bytes(b"\n".join([*lines[:2], b'{"k": "assist' + b"\0" * 40, *lines[3:]]))
        await stage.reopen()
        assert "log is damaged" in stage.titles("warning")[-1] and "line 3" in stage.titles("warning")[-1]
        await stage.turn()
        assert stage.agent.history.epoch == 2 and len(stage.tools["shell"].done) == 3 and not server.rejected
        await stage.close()


async def test_a_limit_in_dollars_is_not_given_to_a_model_without_a_price(tmp_path: Path) -> None:
    with MessagesServer(calls(1)) as server:
        stage = Stage(tmp_path, server.url, limits=Limits(usd=5.0))
        with pytest.raises(OperatorError, match=r"limit of \$5 cannot be kept: the price of 'test-model' is unknown"):
            await stage.turn()
        assert not server.seen
        await stage.close()


def test_a_cache_that_is_not_read_is_reported_once() -> None:
    watch, missed = CacheWatch(), Usage(30_000, 10)
    assert [watch.look(missed) is None for _ in range(5)] == [True, True, False, True, True]
    assert watch.look(Usage(10, 10, cache_read_tokens=30_000)) is None
    assert [watch.look(missed) is None for _ in range(3)] == [True, True, False]
    assert all(CacheWatch().look(Usage(100, 10)) is None for _ in range(5))
