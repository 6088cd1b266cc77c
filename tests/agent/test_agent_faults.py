"""Every row of the failure matrix, with the real SDK over real HTTP."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest
from messages_server import Fault, MessagesServer, Reply, say, think, use
from messages_server.faults import status
from stage import Stage, calls, spent_as_billed

from engine.record.errors import OperatorError

PASSING = {
    "429 with retry-after": status(429, retry_after="0"),
    "429 with retry-after-ms": status(429, retry_after_ms="3"),
    "429 without a header": status(429),
    "529 overloaded": status(529),
    "529 that says not to retry": status(529, x_should_retry="false"),
    "408": status(408),
    "409": status(409),
    "500": status(500),
    "502 with a proxy's page": Fault("html", 502),
    "503": status(503),
    "504": status(504),
    "the connection is closed at once": Fault("refuse"),
    "headers that never come": Fault("slow"),
    "reset in mid-stream": Fault("reset", after=3),
    "cut in mid-stream": Fault("cut", after=3),
    "cut before the first event": Fault("cut", after=0),
    "a clean end in mid-block": Fault("eof", after=4),
    "a clean end just before message_stop": Fault("eof", after=None),
    "a stall in mid-stream": Fault("stall", after=4),
    "nothing but pings in mid-stream": Fault("pings", after=4),
    "overloaded in mid-stream": Fault("error_event", after=3),
    "api_error in mid-stream": Fault("error_event", type="api_error", after=3),
    "an empty stream": Fault("empty"),
    "an event that is not JSON": Fault("bad_json", after=3),
    "an event that is a list": Fault("odd_event", message="[1, 2]", after=3),
    "an event without its parts": Fault("odd_event", message='{"type": "content_block_delta"}', after=3),
    "an event whose part is nothing": Fault(
        "odd_event", message='{"type": "content_block_delta", "index": 0, "delta": null}', after=3
    ),
}
STOPPING = {
    "400": (status(400, "tools.0.name: bad"), "refused the request (400: tools.0.name: bad)"),
    "401": (status(401, "invalid x-api-key"), "does not accept the key (401: invalid x-api-key)"),
    "402": (status(402, "no credit"), "asks for payment (402: no credit)"),
    "403": (status(403, "not allowed"), "forbids this (403: not allowed)"),
    "404": (status(404, "model: test-model"), "has no model 'test-model'"),
    "422": (status(422, "unprocessable"), "refused the request (422: unprocessable)"),
    "an error event that is the request's fault": (
        Fault("error_event", type="invalid_request_error", message="bad block"),
        "refused the request (200: bad block)",
    ),
}


@pytest.mark.parametrize("name", PASSING)
async def test_after_a_passing_fault_the_run_goes_on_and_no_call_runs_twice(name: str, tmp_path: Path) -> None:
    script = calls(3, "shell", think("which one?"), say("this one"))
    with MessagesServer(script, faults=[None, PASSING[name]]) as server:
        stage = Stage(tmp_path, server.url, idle_s=0.3)
        await stage.until(lambda: len(stage.tools["shell"].done) == 3)
        assert [c["n"] for c in stage.tools["shell"].done] == [0, 1, 2]
        assert not server.rejected
        assert len(stage.titles("waited")) == 1
        assert spent_as_billed(stage, server)
        await stage.close()


@pytest.mark.parametrize("name", STOPPING)
async def test_a_lasting_fault_stops_with_its_reason_and_loses_nothing(name: str, tmp_path: Path) -> None:
    fault, reason = STOPPING[name]
    with MessagesServer(calls(3), faults=[None, fault]) as server:
        stage = Stage(tmp_path, server.url)
        with pytest.raises(OperatorError) as stopped:
            await stage.turn(3)
        assert reason in str(stopped.value)
        await stage.reopen()
        await stage.until(lambda: len(stage.tools["shell"].done) == 3)
        assert [c["n"] for c in stage.tools["shell"].done] == [0, 1, 2]
        assert not server.rejected
        await stage.close()


async def test_without_a_server_the_agent_waits_and_says_so(tmp_path: Path) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{probe.getsockname()[1]}"
    stage = Stage(tmp_path, url)
    await stage.turn(4)
    assert len(stage.titles("waited")) == 4
    assert "no connection to 127.0.0.1" in stage.titles("waited")[0]
    await stage.close()


async def test_five_broken_replies_in_a_row_call_the_person(tmp_path: Path) -> None:
    with MessagesServer(calls(3), faults=[Fault("eof", after=3)] * 5) as server:
        stage = Stage(tmp_path, server.url)
        with pytest.raises(
            OperatorError, match="5 replies in a row were unusable, the last one because the reply ended"
        ):
            await stage.turn(5)
        await stage.until(lambda: len(stage.tools["shell"].done) == 3)
        assert spent_as_billed(stage, server)
        await stage.close()


@pytest.mark.parametrize("raw", ['{"n": 1', '{"n": }', "[1]", '"text"', '{"n": NaN}', '{"n": -1e999}'])
async def test_a_call_whose_json_cannot_be_read_is_asked_for_again_and_never_run(raw: str, tmp_path: Path) -> None:
    bad = Reply([use("shell", n=9)], raw={0: raw})
    with MessagesServer([bad, bad, bad, *calls(1)]) as server:
        stage = Stage(tmp_path, server.url)
        await stage.until(lambda: bool(stage.tools["shell"].done))
        assert [c["n"] for c in stage.tools["shell"].done] == [0]
        assert "Not executed: the call has arguments that are" in stage.results()[0]["content"]
        assert not server.rejected and len(server.seen) == 4
        await stage.close()


@pytest.mark.parametrize("raw", ["", '{"n": 1', '{"n": 1, "path": "a'])
async def test_a_call_cut_at_the_reply_limit_is_answered_and_never_run(raw: str, tmp_path: Path) -> None:
    cut = Reply([use("shell", n=1), use("shell", n=2)], "max_tokens", raw={1: raw})
    with MessagesServer([cut, *calls(1)]) as server:
        stage = Stage(tmp_path, server.url)
        await stage.turn(2)
        assert [c["n"] for c in stage.tools["shell"].done] == [1, 0]
        assert "cut off at the reply's limit" in stage.results()[1]["content"]
        assert "smaller pieces" in stage.words()
        assert not server.rejected
        await stage.close()


async def test_words_cut_at_the_reply_limit_are_continued(tmp_path: Path) -> None:
    unsigned = {"type": "thinking", "thinking": "long", "signature": ""}
    with MessagesServer([Reply([say("a long")], "max_tokens"), Reply([unsigned], "max_tokens"), *calls(1)]) as server:
        stage = Stage(tmp_path, server.url)
        await stage.turn(3)
        assert len(stage.tools["shell"].done) == 1 and not server.rejected
        await stage.close()


async def test_pause_turn_is_sent_back_unchanged(tmp_path: Path) -> None:
    with MessagesServer([Reply([say("one moment")], "pause_turn"), *calls(1)]) as server:
        stage = Stage(tmp_path, server.url)
        await stage.turn(2)
        assert server.bodies[-1]["messages"][-1]["role"] == "assistant"
        assert len(stage.tools["shell"].done) == 1 and not server.rejected
        await stage.close()


async def test_refusals_are_reworded_once_then_a_new_epoch_then_the_person(tmp_path: Path) -> None:
    refused = Reply([], "refusal", {"type": "refusal", "category": "frontier_llm", "explanation": "not this"})
    partly = Reply([say("I was about to")], "refusal")
    with MessagesServer([*calls(1), refused, partly, refused, *calls(1)]) as server:
        stage = Stage(tmp_path, server.url)
        with pytest.raises(OperatorError, match=r"refused 3 times in a row \(frontier_llm: not this\)"):
            await stage.turn(4)
        assert stage.agent.history.epoch == 2
        assert "about to" not in str(stage.agent.history.messages)
        await stage.turn(1)
        assert len(stage.tools["shell"].done) == 2 and not server.rejected
        assert spent_as_billed(stage, server)
        await stage.close()


async def test_a_second_refusal_moves_to_the_fallback_model(tmp_path: Path) -> None:
    refused = Reply([], "refusal")
    with MessagesServer([*calls(1, "shell", think("so")), refused, refused, *calls(2)]) as server:
        stage = Stage(tmp_path, server.url, fallback="other-model")
        await stage.turn(4)
        assert [s.model for s in server.seen] == ["test-model"] * 3 + ["other-model"]
        await stage.reopen()
        await stage.turn(1)
        assert server.seen[-1].model == "other-model" and not server.rejected
        await stage.close()


async def test_a_full_window_begins_a_new_epoch(tmp_path: Path) -> None:
    full = Reply([say("so I will")], "model_context_window_exceeded")
    too_long = status(400, "prompt is too long: 210000 tokens > 200000 maximum")
    large = status(413, "Request exceeds the maximum size")
    with MessagesServer([*calls(1), full, *calls(1), too_long, *calls(1), large, *calls(1)]) as server:
        stage = Stage(tmp_path, server.url)
        await stage.until(lambda: len(stage.tools["shell"].done) == 4)
        assert stage.agent.history.epoch == 4 and not server.rejected
        await stage.close()


async def test_a_window_that_cannot_hold_a_fresh_conversation_stops_the_run(tmp_path: Path) -> None:
    with MessagesServer(calls(3), window_tokens=2_000) as server:
        stage = Stage(tmp_path, server.url)
        with pytest.raises(OperatorError, match="window of 2,000 tokens is too small"):
            await stage.turn(1)
        await stage.close()
    with MessagesServer([status(400, "prompt is too long: 9 tokens > 8 maximum")] * 3) as server:
        stage = Stage(tmp_path, server.url)
        with pytest.raises(OperatorError, match="even a fresh conversation does not fit"):
            await stage.turn(3)
        await stage.close()


async def test_an_empty_reply_is_not_sent_back(tmp_path: Path) -> None:
    with MessagesServer([Reply([]), Reply([say("  ")]), *calls(1)]) as server:
        stage = Stage(tmp_path, server.url)
        await stage.turn(3)
        assert len(stage.tools["shell"].done) == 1 and not server.rejected
        assert [m["role"] for m in stage.agent.history.messages] == ["user", "assistant", "user"]
        await stage.close()


async def test_unknown_stop_reasons_are_faults_and_unknown_blocks_are_kept(tmp_path: Path) -> None:
    novelty = {"type": "novelty", "payload": {"deep": [1, 2]}}
    with MessagesServer([Reply([say("hm")], "surprise"), Reply([novelty, use("shell", n=0)]), *calls(1)]) as server:
        stage = Stage(tmp_path, server.url)
        await stage.turn(3)
        assert server.bodies[-1]["messages"][1]["content"][0] == novelty
        assert "unknown stop reason 'surprise'" in stage.titles("waited")[0] and not server.rejected
        await stage.close()


async def test_a_parameter_that_the_server_does_not_know_is_left_out(tmp_path: Path) -> None:
    faults = [status(400, "thinking: Extra inputs are not permitted"), status(400, "unknown field cache_control")]
    with MessagesServer(calls(1), faults=faults) as server:
        stage = Stage(tmp_path, server.url)
        await stage.turn(3)
        assert "thinking" not in server.bodies[-1] and "cache_control" not in str(server.bodies[-1])
        assert len(stage.tools["shell"].done) == 1
        await stage.close()


async def test_a_history_that_the_server_no_longer_takes_is_left_behind(tmp_path: Path) -> None:
    fault = status(400, "messages.1.content: Invalid `signature` in `thinking` block")
    with MessagesServer(calls(2, "shell", think("so")), faults=[None, fault]) as server:
        stage = Stage(tmp_path, server.url)
        await stage.until(lambda: len(stage.tools["shell"].done) == 2)
        assert stage.agent.history.epoch == 2 and not server.rejected
        await stage.close()
