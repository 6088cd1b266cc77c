"""What a policy answers: content blocks and a stop reason, and the events that carry them."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

_ids = itertools.count(1)


@dataclass(frozen=True, slots=True)
class Reply:
    """One assistant message. `raw` replaces a tool call's JSON on the wire, by block index."""

    content: list[dict[str, Any]] = field(default_factory=list)
    stop_reason: str | None = None
    stop_details: dict[str, Any] | None = None
    raw: dict[int, str] = field(default_factory=dict)

    def reason(self) -> str:
        """The stop reason; `tool_use` when there is a tool call and none was given."""
        if self.stop_reason:
            return self.stop_reason
        return "tool_use" if any(b["type"] == "tool_use" for b in self.content) else "end_turn"

    def tokens(self) -> int:
        """Output tokens, a token for every four bytes."""
        return 1 + len(json.dumps(self.content, ensure_ascii=False)) // 4


def say(text: str) -> dict[str, Any]:
    """A text block."""
    return {"type": "text", "text": text}


def think(text: str) -> dict[str, Any]:
    """A thinking block; the server signs it."""
    return {"type": "thinking", "thinking": text, "signature": ""}


def use(tool: str, **arguments: Any) -> dict[str, Any]:
    """A tool call with a fresh id."""
    call = {"type": "tool_use", "id": f"toolu_{next(_ids):06d}", "name": tool, "input": arguments}
    return {**call, "caller": {"type": "direct"}}


def events(reply: Reply, model: str, usage: dict[str, Any], number: int) -> Iterator[tuple[str, dict[str, Any]]]:
    """The reply as (event name, data) in the order of the API."""
    message = {
        "id": f"msg_{number:06d}",
        "type": "message",
        "role": "assistant",
        "model": model,
        "content": [],
        "stop_reason": None,
        "stop_sequence": None,
        "usage": {**usage, "output_tokens": 1},
    }
    yield "message_start", {"type": "message_start", "message": message}
    yield "ping", {"type": "ping"}
    yield "novelty", {"type": "novelty", "of": "a later version of the API"}
    for index, block in enumerate(reply.content):
        yield from _block(index, block, reply.raw.get(index))
    delta = {"stop_reason": reply.reason(), "stop_sequence": None, "stop_details": reply.stop_details}
    done = {"type": "message_delta", "delta": delta, "usage": {"output_tokens": reply.tokens()}}
    yield "message_delta", done
    yield "message_stop", {"type": "message_stop"}


def _block(index: int, block: dict[str, Any], raw: str | None) -> Iterator[tuple[str, dict[str, Any]]]:
    start, deltas = _opened(block, raw)
    yield "content_block_start", {"type": "content_block_start", "index": index, "content_block": start}
    for delta in deltas:
        yield "content_block_delta", {"type": "content_block_delta", "index": index, "delta": delta}
    yield "content_block_stop", {"type": "content_block_stop", "index": index}


def _opened(block: dict[str, Any], raw: str | None) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    kind = block["type"]
    if kind == "text":
        return {**block, "text": "", "citations": None}, [
            {"type": "text_delta", "text": t} for t in _pieces(block["text"])
        ]
    if kind == "thinking":
        told = [{"type": "thinking_delta", "thinking": t} for t in _pieces(block["thinking"])]
        return {**block, "thinking": "", "signature": ""}, [
            *told,
            {"type": "signature_delta", "signature": block["signature"]},
        ]
    if kind == "tool_use":
        text = json.dumps(block["input"], ensure_ascii=False) if raw is None else raw
        return {**block, "input": {}}, [{"type": "input_json_delta", "partial_json": t} for t in ("", *_pieces(text))]
    return block, []


def _pieces(text: str, size: int = 400) -> list[str]:
    return [text[i : i + size] for i in range(0, len(text), size)]
