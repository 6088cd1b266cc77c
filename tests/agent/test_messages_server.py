"""The loopback server refuses what the API refuses: each rule with a request that breaks nothing else."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest
from messages_server.rules import check
from messages_server.segments import chain, segments_of, signature
from messages_server.shapes import BODY_LIMIT, COUNTED, TOP, Rejected, parse

Change = Callable[[dict[str, Any]], object]
CACHE = {"type": "ephemeral", "ttl": "1h"}
TOOL = {"name": "shell", "description": "runs", "input_schema": {"type": "object", "properties": {}}}


def request() -> dict[str, Any]:
    """A request that the API takes: tools, thinking, caching, and one answered call."""
    body: dict[str, Any] = {
        "model": "m",
        "max_tokens": 4000,
        "stream": True,
        "system": [{"type": "text", "text": "You vary.", "cache_control": CACHE}],
        "tools": [TOOL],
        "thinking": {"type": "adaptive", "display": "summarized"},
        "output_config": {"effort": "high"},
        "cache_control": CACHE,
        "messages": [{"role": "user", "content": [{"type": "text", "text": "Begin."}]}],
    }
    signed = signature(chain(segments_of(body))[-1], "so")
    thought = {"type": "thinking", "thinking": "so", "signature": signed}
    call = {"type": "tool_use", "id": "toolu_1", "name": "shell", "input": {}}
    answer = {"type": "tool_result", "tool_use_id": "toolu_1", "content": "done"}
    body["messages"] += [{"role": "assistant", "content": [thought, call]}, {"role": "user", "content": [answer]}]
    return body


def said(body: dict[str, Any], index: int) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = body["messages"][index]["content"]
    return found


def ends_in_thought(body: dict[str, Any]) -> None:
    signed = said(body, 1)[0]
    body["messages"][1:] = [
        {"role": "assistant", "content": [signed]},
        {"role": "user", "content": [{"type": "text", "text": "Go on."}]},
    ]


BROKEN: dict[str, tuple[Change, str]] = {
    "an unknown parameter": (lambda b: b.update(temperature=1), "temperature: Extra inputs are not permitted"),
    "a parameter of a beta": (lambda b: b.update(context_management={}), "context_management: Extra inputs"),
    "no model": (lambda b: b.pop("model"), "model: Field required"),
    "no limit for the reply": (lambda b: b.pop("max_tokens"), "max_tokens: Field required"),
    "a reply of nothing": (lambda b: b.update(max_tokens=0), "max_tokens: Input should be greater"),
    "a reply longer than the model's": (lambda b: b.update(max_tokens=64_001), "64001 > 64000, which is the maximum"),
    "a reply that passes the window": (lambda b: b.update(max_tokens=60_000), "exceed context limit"),
    "no messages": (lambda b: b.update(messages=[]), "at least one message is required"),
    "an assistant first": (lambda b: b["messages"].pop(0), "first message must use the user role"),
    "a prefill": (lambda b: b["messages"].pop(), "does not support assistant message prefill"),
    "an unknown role": (lambda b: b["messages"][0].update(role="tool"), "role: Input should be"),
    "more in a message": (lambda b: b["messages"][0].update(name="x"), "exactly a role and a content"),
    "an empty message": (lambda b: b["messages"][0].update(content=[]), "non-empty content"),
    "empty words": (lambda b: said(b, 0)[0].update(text=" \n"), "non-whitespace text"),
    "more in a block": (lambda b: said(b, 0)[0].update(parsed=1), "text.parsed: Extra inputs are not permitted"),
    "more in a call": (lambda b: said(b, 1)[1].update(result=1), "tool_use.result: Extra inputs"),
    "an unknown block": (lambda b: said(b, 0).append({"type": "video"}), "Input tag 'video'"),
    "a call without an answer": (lambda b: said(b, 2)[0].update(type="text", text="x"), "Extra inputs|tool_use"),
    "an answer to nothing": (lambda b: said(b, 2)[0].update(tool_use_id="toolu_9"), "tool_use"),
    "two answers": (lambda b: said(b, 2).append(said(b, 2)[0]), "single result"),
    "words before an answer": (lambda b: said(b, 2).insert(0, {"type": "text", "text": "x"}), "must come before"),
    "an error without words": (lambda b: said(b, 2)[0].update(content="", is_error=True), "cannot be empty"),
    "a call that is no object": (lambda b: said(b, 1)[1].update(input="{}"), "input that is an object"),
    "thinking that was changed": (lambda b: said(b, 1)[0].update(thinking="no"), "Invalid `signature`"),
    "thinking after another prefix": (lambda b: said(b, 0)[0].update(text="End."), "Invalid `signature`"),
    "thinking after other tools": (lambda b: b.update(tools=[{**TOOL, "name": "other"}]), "Invalid `signature`"),
    "thinking without its signature": (lambda b: said(b, 1)[0].update(signature=""), "signature: Field required"),
    "thinking that was left out": (lambda b: said(b, 1).pop(0), "cannot be modified"),
    "a message that ends in thinking": (ends_in_thought, "final block in an assistant message cannot be `thinking`"),
    "five breakpoints": (lambda b: b["system"].extend([{**b["system"][0]}] * 3), "A maximum of 4 blocks"),
    "a breakpoint on thinking": (lambda b: said(b, 1)[0].update(cache_control=CACHE), "Extra inputs|Found"),
    "an hour after five minutes": (lambda b: b["system"][0].update(cache_control={"type": "ephemeral"}), "ttl='1h'"),
    "an unknown lifetime": (lambda b: b["cache_control"].update(ttl="1d"), "'5m' or '1h'"),
    "an empty instruction": (lambda b: b["system"][0].update(text=""), "must be non-empty"),
    "a tool's bad name": (lambda b: b.update(tools=[{**TOOL, "name": "a b"}]), "should match pattern"),
    "a tool twice": (lambda b: b.update(tools=[TOOL, TOOL]), "Tool names must be unique"),
    "a tool without a schema": (lambda b: b.update(tools=[{"name": "x"}]), "input_schema.type: Field required"),
    "a schema of no type": (
        lambda b: b.update(tools=[{**TOOL, "input_schema": {"type": "object", "properties": {"a": {"type": "int"}}}}]),
        "draft 2020-12",
    ),
    "unknown thinking": (lambda b: b.update(thinking={"type": "deep"}), "thinking: Input tag 'deep'"),
    "a budget for adaptive thinking": (lambda b: b["thinking"].update(budget_tokens=2000), "Extra inputs"),
    "too small a budget": (lambda b: b.update(thinking={"type": "enabled", "budget_tokens": 9}), "1024"),
    "a budget past the reply": (
        lambda b: b.update(thinking={"type": "enabled", "budget_tokens": 4000}),
        "`max_tokens` must be greater than `thinking.budget_tokens`",
    ),
    "an unknown effort": (lambda b: b.update(output_config={"effort": "huge"}), "output_config.effort"),
    "a forced tool while thinking": (lambda b: b.update(tool_choice={"type": "any"}), "tool_choice forces"),
}  # fmt: skip


def checked(body: dict[str, Any], **more: Any) -> None:
    issued = {"toolu_1": [said(request(), 1)[0]["signature"]]}
    check(body, window_tokens=60_000, issued=issued, **more)


def test_a_request_that_breaks_no_rule_is_taken() -> None:
    checked(request())


@pytest.mark.parametrize("name", BROKEN)
def test_a_request_that_breaks_a_rule_is_refused_with_the_place(name: str) -> None:
    change, reason = BROKEN[name]
    body = copy.deepcopy(request())
    change(body)
    with pytest.raises(Rejected, match=reason) as refused:
        checked(body)
    assert refused.value.status == 400


@pytest.mark.parametrize(
    ("raw", "status", "reason"),
    [
        (b"{", 400, "not valid JSON"),
        (b'{"model": "\\ud83d"}', 400, "no low surrogate"),
        (b"[]", 400, "must be a JSON object"),
        (b" " * (BODY_LIMIT + 1), 413, "exceeds the maximum size"),
    ],
    ids=["cut off", "half a pair", "a list", "too long"],  # without names the whole bodies would be the tests' names
)
def test_a_body_that_cannot_be_read_is_refused(raw: bytes, status: int, reason: str) -> None:
    with pytest.raises(Rejected, match=reason) as refused:
        parse(raw, {"content-type": "application/json"})
    assert refused.value.status == status


def test_counting_takes_what_a_request_consists_of_and_nothing_about_the_reply() -> None:
    body = request()
    for name in ("max_tokens", "stream"):
        body.pop(name)
    checked(body, counting=True)
    with pytest.raises(Rejected, match="max_tokens: Extra inputs"):
        checked({**body, "max_tokens": 5}, counting=True)
    assert COUNTED < TOP


def test_a_knob_that_the_api_no_longer_has_is_not_in_the_sdk_either() -> None:
    assert not {"temperature", "top_p", "top_k"} & TOP
