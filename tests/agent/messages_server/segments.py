"""A request cut into the segments that the API caches and signs by: tools, system, then each content block.

The chain of hashes over them names every prefix; `cache_control` takes no part in it.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Segment:
    """One piece of a request: its canonical bytes, and whether a cache breakpoint stands after it."""

    text: bytes
    breakpoint: bool = False

    @property
    def tokens(self) -> int:
        """A token for every four bytes, at least one."""
        return max(1, len(self.text) // 4)


def canonical(value: Any) -> bytes:
    """Compact JSON in the order the client sent it."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode()


def blocks_of(content: Any) -> list[dict[str, Any]]:
    """A message's content as a list of blocks."""
    return [{"type": "text", "text": content}] if isinstance(content, str) else list(content or [])


def segments_of(body: dict[str, Any]) -> list[Segment]:
    """Tools (one segment each), system blocks, then message blocks with their role."""
    found = [_segment("model", {"type": "model", "model": body.get("model")})]
    found += [_segment("tool", tool) for tool in body.get("tools") or []]
    found += [_segment("system", block) for block in blocks_of(body.get("system"))]
    for message in body.get("messages") or []:
        found += [_segment(message["role"], block) for block in blocks_of(message["content"])]
    return found


def chain(segments: list[Segment], start: bytes = b"") -> list[bytes]:
    """The hash of each prefix, one for each segment."""
    found, last = [], start
    for segment in segments:
        last = hashlib.sha256(last + segment.text).digest()
        found.append(last)
    return found


def _segment(role: str, block: dict[str, Any]) -> Segment:
    bare = {k: v for k, v in block.items() if k != "cache_control" and v is not None}
    return Segment(role.encode() + b":" + canonical(bare), "cache_control" in block)


def signature(prefix: bytes, thinking: str) -> str:
    """What the API would sign a thinking block with: everything before it, and its own text."""
    return hashlib.sha256(prefix + b"thinking:" + thinking.encode()).hexdigest()
