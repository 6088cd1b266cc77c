"""The bytes of a request: what was encoded once is sent again as it was, and nothing else is."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from messages_server import think, use
from test_agent_history import begun, whole

from engine.operators.agent.wire import Wire

GIVEN = {"model": "m", "max_tokens": 100}


def said(role: str, *texts: str) -> dict[str, Any]:
    return {"role": role, "content": [{"type": "text", "text": text} for text in texts]}


def sent(wire: Wire, messages: list[dict[str, Any]]) -> bytes:
    """The body; it must be what encoding everything anew gives."""
    body = wire.body(GIVEN, messages)
    assert json.loads(body) == {**GIVEN, "messages": messages}
    assert body == Wire().body(GIVEN, messages)
    return body


def test_every_request_begins_with_the_bytes_of_the_one_before(tmp_path: Path) -> None:
    history, wire, before = begun(tmp_path), Wire(), b""
    for turn in range(5):
        body = sent(wire, history.messages)
        assert body.startswith(before)
        before = body.removesuffix(b"]}]}")  # the last message's content may still grow
        call = use("shell", n=turn)
        history.assistant(whole(think(f"Überlegung {turn} \U0001f914"), call))
        history.result(call["id"], "fine", error=False)
        history.user("a direction")


def test_the_last_message_is_encoded_as_it_has_grown() -> None:
    wire, messages = Wire(), [said("user", "one")]
    sent(wire, messages)
    messages[-1]["content"].append({"type": "text", "text": "two"})
    assert b"two" in sent(wire, messages)
    messages += [said("assistant", "three"), said("user", "four")]
    assert b'"two"' in sent(wire, messages)


def test_words_that_are_sent_once_are_not_kept() -> None:
    wire, messages = Wire(), [said("user", "one"), said("assistant", "two"), said("user", "three")]
    sent(wire, messages)
    sent(wire, [*messages[:-1], said("user", "three", "only now")])
    sent(wire, [*messages, said("assistant", "four"), said("user", "only now")])
    assert b"only now" not in sent(wire, [*messages, said("assistant", "four"), said("user", "five")])


def test_another_conversation_and_a_return_to_the_first_send_what_they_are() -> None:
    wire, first, other = (
        Wire(),
        [said("user", "one"), said("assistant", "two"), said("user", "three")],
        [said("user", "x")],
    )
    for messages in (first, other, first, first[:1], first):
        sent(wire, messages)


def test_messages_that_are_equal_but_others_are_encoded_anew() -> None:
    wire = Wire()
    sent(wire, [said("user", "one"), said("assistant", "two"), said("user", "three")])
    sent(wire, [said("user", "one"), said("assistant", "changed"), said("user", "three")])
