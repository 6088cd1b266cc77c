"""A model's reply, put together from the events of its stream, strictly.

One rule: a reply counts only when it ended (`message_stop` and a known stop reason), and a tool call
only when its JSON is whole. Whatever the API adds to a block is kept as it came, so that it can be
sent back unchanged.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from engine.operators.agent.faults import ModelFault

KNOWN_STOPS = frozenset(
    {"end_turn", "max_tokens", "stop_sequence", "tool_use", "pause_turn", "refusal", "model_context_window_exceeded"}
)
# The API refuses a conversation in which a message of the model ends with one of these.
_NEVER_LAST = frozenset({"thinking", "redacted_thinking"})


@dataclass(frozen=True, slots=True)
class Usage:
    """Tokens of one call, all four kinds."""

    input_tokens: int = 0
    output_tokens: int = 0
    cache_read_tokens: int = 0
    cache_write_tokens: int = 0

    @property
    def context_tokens(self) -> int:
        """How much of the window the conversation fills after this reply."""
        return self.input_tokens + self.cache_read_tokens + self.cache_write_tokens + self.output_tokens


@dataclass(frozen=True, slots=True)
class Call:
    """One tool call. `broken` says why it must not run: its JSON was cut or is not an object."""

    id: str
    name: str
    arguments: Mapping[str, Any]
    broken: str = ""


@dataclass(frozen=True, slots=True)
class Reply:
    """A whole assistant message."""

    content: tuple[dict[str, Any], ...]
    stop_reason: str
    usage: Usage
    calls: tuple[Call, ...] = ()
    refusal: str = ""
    id: str = ""

    @property
    def text(self) -> str:
        """The words, without the reasoning."""
        return "\n\n".join(b["text"] for b in self.content if b.get("type") == "text")

    @property
    def reasoning(self) -> str:
        """The thinking, where the API shows it."""
        return "\n\n".join(b["thinking"] for b in self.content if b.get("type") == "thinking" and b.get("thinking"))


@dataclass(slots=True)
class Assembly:
    """A reply in the making. Feed it the stream's events, then ask for the reply.

    `strict` rejects a reply with unreadable tool JSON; without it such a call is kept and marked broken.
    """

    strict: bool = True
    text: str = ""
    usage_seen: dict[str, Any] = field(default_factory=dict)
    _id: str = ""
    _blocks: dict[int, dict[str, Any]] = field(default_factory=dict)
    _json: dict[int, list[str]] = field(default_factory=dict)
    _parts: dict[int, list[str]] = field(default_factory=dict)
    _whole: set[int] = field(default_factory=set)
    _stop: str | None = None
    _refusal: str = ""
    _ended: bool = False

    def feed(self, event: Any) -> str:
        """Take one event, as its JSON; returns the new words, if any. Raises ValueError for another shape."""
        try:
            return self._take(event)
        except (AttributeError, KeyError, TypeError) as error:
            raise ValueError(f"an event of another shape ({type(error).__name__}: {error})") from error

    def _take(self, event: Mapping[str, Any]) -> str:
        kind = event["type"]
        if kind == "content_block_delta":
            return self._delta(event["index"], event["delta"])
        if kind == "message_start":
            self._id = event["message"]["id"]
            self._count(event["message"].get("usage"))
        elif kind == "content_block_start":
            self._blocks[event["index"]] = event["content_block"]
        elif kind == "content_block_stop":
            self._whole.add(event["index"])
        elif kind == "message_delta":
            delta = event["delta"]
            self._stop = delta.get("stop_reason") or self._stop
            self._refusal = _refusal(delta.get("stop_details")) or self._refusal
            self._count(event.get("usage"))
        elif kind == "message_stop":
            self._ended = True
        return ""

    def _delta(self, index: int, delta: Mapping[str, Any]) -> str:
        kind = delta["type"]
        if kind == "input_json_delta":
            self._json.setdefault(index, []).append(delta["partial_json"])
        elif kind in ("text_delta", "thinking_delta"):
            words: str = delta["text"] if kind == "text_delta" else delta["thinking"]
            self._parts.setdefault(index, []).append(words)
            self.text += words
            return words
        elif kind == "signature_delta":
            self._blocks[index]["signature"] = delta["signature"]
        return ""

    def _count(self, usage: Mapping[str, Any] | None) -> None:
        self.usage_seen.update({k: v for k, v in (usage or {}).items() if v is not None})

    def usage(self) -> Usage | None:
        """What the call has cost so far; None when it never began."""
        u = self.usage_seen
        if not u:
            return None
        names = ("input_tokens", "output_tokens", "cache_read_input_tokens", "cache_creation_input_tokens")
        return Usage(*(int(u.get(name) or 0) for name in names))

    def reply(self) -> Reply:
        """The reply; raises ModelFault when it did not end properly."""
        if not self._ended or self._stop is None:
            raise ModelFault("resend", "the reply ended before it was whole")
        if self._stop == "model_context_window_exceeded":
            raise ModelFault("room", "the conversation filled the model's window")
        if self._stop not in KNOWN_STOPS:
            raise ModelFault("resend", f"the reply ended with an unknown stop reason {self._stop!r}")
        content, calls = [], []
        for index in sorted(self._blocks):
            block = self._block(index)
            if block.get("type") == "tool_use":
                call = self._call(index, block)
                calls.append(call)
                block = {**block, "input": dict(call.arguments)}
            if _worth_keeping(block):
                content.append(block)
        while content and content[-1].get("type") in _NEVER_LAST:
            content.pop()
        return Reply(tuple(content), self._stop, self.usage() or Usage(), tuple(calls), self._refusal, self._id)

    def _block(self, index: int) -> dict[str, Any]:
        block, words = self._blocks[index], "".join(self._parts.get(index, ()))
        kind = block.get("type")
        if kind in ("text", "thinking") and words:
            return {**block, kind: clean(str(block.get(kind) or "") + words)}
        return block

    def _call(self, index: int, block: Mapping[str, Any]) -> Call:
        arguments, broken = self._arguments(index, block)
        if broken and self.strict and self._stop != "max_tokens":
            raise ModelFault("resend", f"the call of {block['name']} {broken}", bad_call=True)
        return Call(block["id"], block["name"], arguments, broken)

    def _arguments(self, index: int, block: Mapping[str, Any]) -> tuple[dict[str, Any], str]:
        text = "".join(self._json.get(index, ()))
        if not text:
            cut = self._stop == "max_tokens" and index == max(self._blocks)
            return dict(block.get("input") or {}), "was cut off at the reply's limit" if cut else ""
        try:
            value = json.loads(text, parse_constant=_finite, parse_float=_finite)
        except ValueError as error:
            cut = self._stop == "max_tokens"
            return {}, "was cut off at the reply's limit" if cut else f"has arguments that are not JSON: {error}"
        if not isinstance(value, dict):
            return {}, f"has arguments that are a {type(value).__name__} and not an object"
        return _clean_values(value), ""


def _finite(text: str) -> float:
    """A number that can be sent back: Python reads NaN and infinities, and JSON has none."""
    if not math.isfinite(value := float(text)):
        raise ValueError(f"{text} is not a finite number")
    return value


def _worth_keeping(block: Mapping[str, Any]) -> bool:
    """Empty words, and thinking that was cut before it was signed, are refused when sent back."""
    if block.get("type") == "text":
        return bool(str(block.get("text") or "").strip())
    if block.get("type") == "thinking":
        return bool(block.get("signature"))
    return True


def _refusal(details: Mapping[str, Any] | None) -> str:
    return ": ".join(str(details[name]) for name in ("category", "explanation") if details.get(name)) if details else ""


def clean(text: str) -> str:
    """Text that can be encoded: lone surrogates become U+FFFD."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    return text


def _clean_values(value: Any) -> Any:
    if isinstance(value, str):
        return clean(value)
    if isinstance(value, dict):
        return {clean(k): _clean_values(v) for k, v in value.items()}
    return [_clean_values(v) for v in value] if isinstance(value, list) else value
