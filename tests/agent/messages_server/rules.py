"""What the API refuses, each with its status and a message that names the place.

`check` raises `Rejected`; a request that passes is one the API would have answered.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from messages_server.segments import Segment, blocks_of, chain, segments_of, signature

_TOP = {
    "model", "messages", "max_tokens", "system", "tools", "tool_choice", "stream", "cache_control", "thinking",
    "output_config", "metadata", "stop_sequences", "service_tier", "diagnostics", "container", "inference_geo", "speed",
    "context_management", "compaction",
}  # fmt: skip
_TOOL_NAME = re.compile(r"[a-zA-Z0-9_-]{1,128}\Z")
_CALL_ID = re.compile(r"[a-zA-Z0-9_-]+\Z")
_SCHEMA_LIMIT = 4


class Rejected(Exception):
    """The API would refuse this request."""

    def __init__(self, message: str, status: int = 400, type: str = "") -> None:
        super().__init__(message)
        self.status, self.type = status, type


def check(body: Any, *, window_tokens: int, paused: Sequence[Any] = ()) -> list[Segment]:
    """Refuse what the API refuses; returns the request's segments. `paused`: replies that may be continued."""
    _shape(body)
    for tool in body.get("tools") or []:
        _tool(tool)
    _unique([t["name"] for t in body.get("tools") or []], "tools: Tool names must be unique")
    _breakpoints(body)
    _messages(body["messages"], paused)
    segments = segments_of(body)
    _signatures(body, segments)
    tokens = sum(s.tokens for s in segments)
    if tokens > window_tokens:
        raise Rejected(f"prompt is too long: {tokens} tokens > {window_tokens} maximum")
    return segments


def _shape(body: Any) -> None:
    if not isinstance(body, dict):
        raise Rejected("request body must be a JSON object")
    if extra := sorted(set(body) - _TOP):
        raise Rejected(f"{extra[0]}: Extra inputs are not permitted")
    for name in ("model", "messages", "max_tokens"):
        if name not in body:
            raise Rejected(f"{name}: Field required")
    if not isinstance(body["max_tokens"], int) or body["max_tokens"] < 1:
        raise Rejected("max_tokens: Input should be greater than or equal to 1")
    if not isinstance(body["messages"], list) or not body["messages"]:
        raise Rejected("messages: at least one message is required")
    if "compaction" in body and "context_management" in body:
        raise Rejected("compaction and context_management cannot be used together")


def _tool(tool: dict[str, Any]) -> None:
    if extra := sorted(set(tool) - {"name", "description", "input_schema", "cache_control", "type", "strict"}):
        raise Rejected(f"tools: {extra[0]}: Extra inputs are not permitted")
    if not _TOOL_NAME.match(str(tool.get("name", ""))):
        raise Rejected(f"tools: name {tool.get('name')!r} should match ^[a-zA-Z0-9_-]{{1,128}}$")
    schema = tool.get("input_schema")
    if not isinstance(schema, dict) or schema.get("type") != "object":
        raise Rejected(f"tools.{tool['name']}.input_schema.type: Field required")
    for name in schema.get("required", ()):
        if name not in schema.get("properties", {}):
            raise Rejected(f"tools.{tool['name']}.input_schema: required {name!r} is not a property")


def _breakpoints(body: dict[str, Any]) -> None:
    blocks = [*(body.get("tools") or []), *blocks_of(body.get("system"))]
    for message in body["messages"]:
        if isinstance(message, dict):
            blocks += blocks_of(message.get("content"))
    count = sum("cache_control" in b for b in blocks if isinstance(b, dict)) + ("cache_control" in body)
    if count > _SCHEMA_LIMIT:
        raise Rejected(f"A maximum of 4 blocks with cache_control may be provided. Found {count}.")


def _messages(messages: list[dict[str, Any]], paused: Sequence[Any]) -> None:
    merged = _merged(messages)
    if merged[0][0] != "user":
        raise Rejected("messages: first message must use the user role")
    continues = any(merged[-1][1][-len(reply) :] == reply for reply in paused)
    if merged[-1][0] == "assistant" and not continues:
        raise Rejected(
            "This model does not support assistant message prefill. The conversation must end with a user message."
        )
    calls: list[str] = []
    for index, (role, blocks) in enumerate(merged):
        for block in blocks:
            _block(index, role, block)
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
    if kind == "text":
        if not isinstance(block.get("text"), str) or not block["text"].strip():
            raise Rejected(f"{where}: text content blocks must contain non-whitespace text")
    elif kind == "tool_result":
        if role != "user":
            raise Rejected(f"{where}: tool_result blocks can only be in user messages")
        content = block.get("content")
        if not content and block.get("is_error"):
            raise Rejected(f"{where}: content cannot be empty if `is_error` is true")
        for inner in blocks_of(content):
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
