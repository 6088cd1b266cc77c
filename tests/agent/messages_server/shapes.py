"""What a request may consist of at all: its parameters, sizes and encodings.

The names come from the installed SDK's own types, so that a parameter which the SDK does not know is refused here.
Sentences and limits are those that the API is known to answer with.
"""

from __future__ import annotations

import json
import re
from typing import Any

from engine.operators.agent.sdk import anthropic
from messages_server.segments import blocks_of

types = anthropic.types

BODY_LIMIT = 32 * 1024 * 1024
MESSAGES_LIMIT = 100_000
LEAST_THINKING = 1024
EFFORTS = ("low", "medium", "high", "xhigh", "max")
TOP = frozenset(types.message_create_params.MessageCreateParamsBase.__annotations__) | {"stream"}
COUNTED = frozenset(types.message_count_tokens_params.MessageCountTokensParams.__annotations__)
BLOCKS: dict[str, frozenset[str]] = {
    "text": frozenset(types.TextBlockParam.__annotations__),
    "thinking": frozenset(types.ThinkingBlockParam.__annotations__),
    "redacted_thinking": frozenset(types.RedactedThinkingBlockParam.__annotations__),
    "tool_use": frozenset(types.ToolUseBlockParam.__annotations__),
    "tool_result": frozenset(types.ToolResultBlockParam.__annotations__),
}
THINKING: dict[str, frozenset[str]] = {
    "enabled": frozenset(types.ThinkingConfigEnabledParam.__annotations__),
    "adaptive": frozenset(types.ThinkingConfigAdaptiveParam.__annotations__),
    "disabled": frozenset({"type"}),
    "between_tools": frozenset({"type"}),
}
_TOOL = frozenset(types.ToolParam.__annotations__)
_TOOL_NAME = re.compile(r"[a-zA-Z0-9_-]{1,128}\Z")
_JSON_TYPES = frozenset({"object", "array", "string", "integer", "number", "boolean", "null"})
_TTL = {"5m": 5, "1h": 60}


class Rejected(Exception):
    """The API would refuse this request."""

    def __init__(self, message: str, status: int = 400, type: str = "") -> None:
        super().__init__(message)
        self.status, self.type = status, type


def parse(raw: bytes, headers: dict[str, str]) -> Any:
    """The body's JSON; refuses what is too large, not JSON, or not Unicode."""
    if len(raw) > BODY_LIMIT:
        raise Rejected("Request exceeds the maximum size", 413, "request_too_large")
    if not headers.get("content-type", "").startswith("application/json"):
        raise Rejected("content-type: must be application/json")
    try:
        body = json.loads(raw)
        json.dumps(body, ensure_ascii=False).encode()
    except UnicodeEncodeError as error:
        raise Rejected(f"The request body is not valid JSON: no low surrogate in string: {error}") from error
    except ValueError as error:
        raise Rejected(f"The request body is not valid JSON: {error}") from error
    if not isinstance(body, dict):
        raise Rejected("request body must be a JSON object")
    return body


def parameters(body: dict[str, Any], *, counting: bool = False, longest_reply: int = 64_000) -> None:
    """Everything except the messages' own order."""
    allowed = COUNTED if counting else TOP
    if extra := sorted(set(body) - allowed):
        raise Rejected(f"{extra[0]}: Extra inputs are not permitted")
    for name in ("model", "messages", *(() if counting else ("max_tokens",))):
        if name not in body:
            raise Rejected(f"{name}: Field required")
    if not isinstance(body["model"], str) or not body["model"]:
        raise Rejected("model: String should have at least 1 character")
    if not isinstance(body["messages"], list) or not body["messages"]:
        raise Rejected("messages: at least one message is required")
    if len(body["messages"]) > MESSAGES_LIMIT:
        raise Rejected(f"messages: List should have at most {MESSAGES_LIMIT} items after validation")
    if not counting:
        _reply_limit(body, longest_reply)
        if not isinstance(body.get("stream", False), bool):
            raise Rejected("stream: Input should be a valid boolean")
    _system(body.get("system"))
    for index, tool in enumerate(body.get("tools") or []):
        _tool(index, tool)
    _thinking(body)
    _output(body.get("output_config"))
    _cache(body)


def _reply_limit(body: dict[str, Any], longest: int) -> None:
    asked = body["max_tokens"]
    if isinstance(asked, bool) or not isinstance(asked, int) or asked < 1:
        raise Rejected("max_tokens: Input should be greater than or equal to 1")
    if asked > longest:
        raise Rejected(
            f"max_tokens: {asked} > {longest}, which is the maximum allowed number of output tokens for {body['model']}"
        )


def _system(system: Any) -> None:
    for index, block in enumerate(blocks_of(system) if system is not None else []):
        if set(block) - BLOCKS["text"] or block.get("type") != "text":
            raise Rejected(f"system.{index}: Input should be a text block")
        if not str(block.get("text", "")).strip():
            raise Rejected("system: text content blocks must be non-empty")


def _tool(index: int, tool: dict[str, Any]) -> None:
    if extra := sorted(set(tool) - _TOOL):
        raise Rejected(f"tools.{index}.custom.{extra[0]}: Extra inputs are not permitted")
    if not _TOOL_NAME.match(str(tool.get("name", ""))):
        raise Rejected(f"tools.{index}.custom.name: String should match pattern '^[a-zA-Z0-9_-]{{1,128}}$'")
    schema = tool.get("input_schema")
    if not isinstance(schema, dict) or schema.get("type") != "object":
        raise Rejected(f"tools.{index}.custom.input_schema.type: Field required")
    _schema(f"tools.{index}.custom.input_schema", schema)


def _schema(where: str, schema: Any) -> None:
    """Draft 2020-12, as far as our schemas use it."""
    if not isinstance(schema, dict) or schema.get("type", "object") not in _JSON_TYPES:
        raise Rejected(f"{where}: JSON schema is invalid. It must match JSON Schema draft 2020-12")
    properties = schema.get("properties") or {}
    for name in schema.get("required", ()):
        if name not in properties:
            raise Rejected(f"{where}: required {name!r} is not a property")
    for name, inner in properties.items():
        _schema(f"{where}.{name}", inner)
    if "items" in schema:
        _schema(f"{where}.items", schema["items"])


def _thinking(body: dict[str, Any]) -> None:
    asked = body.get("thinking")
    if asked is None:
        return
    kind = asked.get("type") if isinstance(asked, dict) else None
    if kind not in THINKING:
        raise Rejected(f"thinking: Input tag {kind!r} does not match any of the expected tags: {', '.join(THINKING)}")
    if extra := sorted(set(asked) - THINKING[kind]):
        raise Rejected(f"thinking.{kind}.{extra[0]}: Extra inputs are not permitted")
    if asked.get("display") not in (None, "summarized", "omitted"):
        raise Rejected(f"thinking.{kind}.display: Input should be 'summarized' or 'omitted'")
    if kind == "enabled":
        tokens = asked.get("budget_tokens")
        if not isinstance(tokens, int) or tokens < LEAST_THINKING:
            raise Rejected("thinking.enabled.budget_tokens: Input should be greater than or equal to 1024")
        if tokens >= body.get("max_tokens", tokens + 1):
            raise Rejected("`max_tokens` must be greater than `thinking.budget_tokens`")
    if kind in ("enabled", "adaptive") and body.get("tool_choice", {}).get("type") in ("any", "tool"):
        raise Rejected("Thinking may not be enabled when tool_choice forces tool use.")


def _output(asked: Any) -> None:
    if asked is None:
        return
    if extra := sorted(set(asked) - set(types.OutputConfigParam.__annotations__)):
        raise Rejected(f"output_config.{extra[0]}: Extra inputs are not permitted")
    if asked.get("effort") not in (None, *EFFORTS):
        raise Rejected(f"output_config.effort: Input should be one of {', '.join(EFFORTS)}")


def _cache(body: dict[str, Any]) -> None:
    """At most four breakpoints, none on thinking or on nothing, and none that lives longer than one before it."""
    blocks = [*(body.get("tools") or []), *blocks_of(body.get("system"))]
    for message in body["messages"]:
        if isinstance(message, dict):
            blocks += blocks_of(message.get("content"))
    marked = [b for b in blocks if isinstance(b, dict) and b.get("cache_control") is not None]
    controls = [b["cache_control"] for b in marked] + ([body["cache_control"]] if body.get("cache_control") else [])
    if len(controls) > 4:
        raise Rejected(f"A maximum of 4 blocks with cache_control may be provided. Found {len(controls)}.")
    for block in marked:
        if block.get("type") in ("thinking", "redacted_thinking"):
            raise Rejected(f"{block['type']}: cache_control: Extra inputs are not permitted")
        if block.get("type") == "text" and not block["text"]:
            raise Rejected("cache_control cannot be set for empty text blocks")
    lives = []
    for control in controls:
        if set(control) - {"type", "ttl"} or control.get("type") != "ephemeral":
            raise Rejected("cache_control: Input tag does not match any of the expected tags: 'ephemeral'")
        if control.get("ttl", "5m") not in _TTL:
            raise Rejected("cache_control.ephemeral.ttl: Input should be '5m' or '1h'")
        lives.append(_TTL[control.get("ttl", "5m")])
    if lives != sorted(lives, reverse=True):
        raise Rejected("a ttl='1h' cache_control block must not come after a ttl='5m' cache_control block")
