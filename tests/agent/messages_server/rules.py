"""What the API refuses, each with its status and a message that names the place.

`check` raises `Rejected`; a request that passes is one the API would have answered.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any

from messages_server.segments import Segment, blocks_of, chain, segments_of, signature
from messages_server.shapes import BLOCKS, Rejected, parameters

__all__ = ["Rejected", "check"]

_CALL_ID = re.compile(r"[a-zA-Z0-9_-]+\Z")
_RESULT_CONTENT = frozenset({"text"})  # of the kinds that the API takes, the one that we send


def check(
    body: Any,
    *,
    window_tokens: int,
    longest_reply: int = 64_000,
    paused: Sequence[Any] = (),
    issued: Mapping[str, Sequence[str]] = MappingProxyType({}),
    counting: bool = False,
) -> list[Segment]:
    """Refuse what the API refuses; returns the request's segments.

    `paused`: replies that may be continued; `issued`: the signatures of the thinking that came with a tool call.
    """
    parameters(body, counting=counting, longest_reply=longest_reply)
    _unique([t["name"] for t in body.get("tools") or []], "tools: Tool names must be unique")
    _messages(body["messages"], paused)
    segments = segments_of(body)
    _signatures(body, segments)
    _thinking_kept(body["messages"], issued)
    tokens = sum(s.tokens for s in segments)
    if tokens > window_tokens and not counting:
        raise Rejected(f"prompt is too long: {tokens} tokens > {window_tokens} maximum")
    reply = body.get("max_tokens", 0)
    if tokens + reply > window_tokens and not counting:
        raise Rejected(
            f"input length and `max_tokens` exceed context limit: {tokens} + {reply} > {window_tokens}, "
            "decrease input length or `max_tokens` and try again"
        )
    return segments


def _messages(messages: list[dict[str, Any]], paused: Sequence[Any]) -> None:
    merged = _merged(messages)
    if merged[0][0] != "user":
        raise Rejected("messages: first message must use the user role")
    continues = any(_bare(merged[-1][1][-len(reply) :]) == _bare(reply) for reply in paused)
    if merged[-1][0] == "assistant" and not continues:
        raise Rejected(
            "This model does not support assistant message prefill. The conversation must end with a user message."
        )
    calls: list[str] = []
    for index, (role, blocks) in enumerate(merged):
        for block in blocks:
            _block(index, role, block)
        if role == "assistant" and blocks[-1]["type"] in ("thinking", "redacted_thinking"):
            raise Rejected(f"messages.{index}: The final block in an assistant message cannot be `thinking`.")
        answered = [b["tool_use_id"] for b in blocks if b["type"] == "tool_result"]
        _results(index, role, blocks, calls, answered)
        calls = [b["id"] for b in blocks if b["type"] == "tool_use"]
    if calls and not continues:
        raise Rejected(
            "messages: tool_use ids were found without tool_result blocks immediately after: " + ", ".join(calls)
        )
    _unique(
        [b["id"] for _, bs in merged for b in bs if b["type"] == "tool_use"], "messages: `tool_use` ids must be unique"
    )


def _bare(blocks: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    return [{k: v for k, v in block.items() if v is not None} for block in blocks]


def _merged(messages: list[Any]) -> list[tuple[str, list[dict[str, Any]]]]:
    merged: list[tuple[str, list[dict[str, Any]]]] = []
    for index, message in enumerate(messages):
        if not isinstance(message, dict) or set(message) != {"role", "content"}:
            raise Rejected(f"messages.{index}: a message has exactly a role and a content")
        if message["role"] not in ("user", "assistant"):
            raise Rejected(f"messages.{index}.role: Input should be 'user' or 'assistant'")
        if not message["content"]:
            raise Rejected(f"messages.{index}: all messages must have non-empty content")
        if merged and merged[-1][0] == message["role"]:
            merged[-1][1].extend(blocks_of(message["content"]))
        else:
            merged.append((message["role"], blocks_of(message["content"])))
    return merged


def _block(index: int, role: str, block: dict[str, Any]) -> None:
    where = f"messages.{index}.content"
    kind = block.get("type")
    if kind in BLOCKS and (extra := sorted(set(block) - BLOCKS[kind])):
        raise Rejected(f"{where}.{kind}.{extra[0]}: Extra inputs are not permitted")
    if kind == "text":
        if not isinstance(block.get("text"), str) or not block["text"].strip():
            raise Rejected(f"{where}: text content blocks must contain non-whitespace text")
    elif kind == "tool_result":
        if role != "user":
            raise Rejected(f"{where}: tool_result blocks can only be in user messages")
        content = block.get("content")
        if not content and block.get("is_error"):
            raise Rejected(f"{where}: content cannot be empty if `is_error` is true")
        if not isinstance(block.get("is_error", False), bool):
            raise Rejected(f"{where}: is_error: Input should be a valid boolean")
        for inner in blocks_of(content) if content else ():
            if inner.get("type") not in _RESULT_CONTENT:
                raise Rejected(f"{where}.tool_result.content: Input tag {inner.get('type')!r} is not expected")
            _block(index, role, inner)
    elif kind == "tool_use":
        if (
            role != "assistant"
            or not _CALL_ID.match(str(block.get("id", "")))
            or not isinstance(block.get("input"), dict)
        ):
            raise Rejected(f"{where}: tool_use needs the assistant role, an id and an input that is an object")
    elif kind in ("thinking", "redacted_thinking"):
        if role != "assistant":
            raise Rejected(f"{where}: thinking blocks can only be in assistant messages")
        if kind == "thinking" and not (isinstance(block.get("thinking"), str) and block.get("signature")):
            raise Rejected(f"{where}.thinking.signature: Field required")
    elif kind != "novelty" or role != "assistant":
        raise Rejected(f"{where}: Input tag {kind!r} found does not match any of the expected tags")


def _results(index: int, role: str, blocks: list[dict[str, Any]], calls: list[str], answered: list[str]) -> None:
    if missing := [c for c in calls if c not in answered]:
        raise Rejected(
            f"messages.{index}: `tool_use` ids were found without `tool_result` blocks immediately after: "
            f"{', '.join(missing)}. Each `tool_use` block must have a corresponding `tool_result` block in the next message."
        )
    if orphans := [a for a in answered if a not in calls]:
        raise Rejected(
            f"messages.{index}: unexpected `tool_use_id` found in `tool_result` blocks: {', '.join(orphans)}"
        )
    _unique(answered, f"messages.{index}: each tool_use must have a single result")
    kinds = [b["type"] == "tool_result" for b in blocks]
    if role == "user" and kinds != sorted(kinds, reverse=True):
        raise Rejected(f"messages.{index}: `tool_result` blocks must come before other content")


def _unique(names: list[str], message: str) -> None:
    if len(set(names)) != len(names):
        raise Rejected(message)


def _signatures(body: dict[str, Any], segments: list[Segment]) -> None:
    """A thinking block is valid only after exactly the bytes that it was made after."""
    hashes = chain(segments)
    position = len(segments) - sum(len(blocks_of(m["content"])) for m in body["messages"])
    for index, message in enumerate(body["messages"]):
        for block in blocks_of(message["content"]):
            if block["type"] == "thinking" and block["signature"] != signature(hashes[position - 1], block["thinking"]):
                raise Rejected(f"messages.{index}.content: Invalid `signature` in `thinking` block")
            position += 1


def _thinking_kept(messages: list[dict[str, Any]], issued: Mapping[str, Sequence[str]]) -> None:
    """What was thought before a tool call must come back with it."""
    for index, message in enumerate(messages):
        blocks = blocks_of(message["content"])
        have = [b["signature"] for b in blocks if b["type"] == "thinking"]
        wanted = [s for b in blocks if b["type"] == "tool_use" for s in issued.get(b["id"], ())]
        if any(signature not in have for signature in wanted):
            raise Rejected(
                f"messages.{index}.content: `thinking` or `redacted_thinking` blocks in the latest assistant message "
                "cannot be modified. These blocks must remain as they were in the original response."
            )
