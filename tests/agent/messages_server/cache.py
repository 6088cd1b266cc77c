"""Prompt caching, simulated: which prefix of a request was paid for before, and how much of it is unchanged."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from messages_server.segments import Segment, chain

_LOOKBACK = 20
_MINIMUM_TOKENS = 64


@dataclass(slots=True)
class PromptCache:
    """Prefixes that were written, by their hash. Nothing expires: a test is shorter than five minutes."""

    written: set[bytes] = field(default_factory=set)

    def usage(self, segments: list[Segment], *, automatic: bool) -> dict[str, Any]:
        """Token counts of one request. `automatic` is a top-level cache_control: a breakpoint at the end."""
        hashes = chain(segments)
        points = [i for i, s in enumerate(segments) if s.breakpoint]
        if automatic:
            points.append(len(segments) - 1)
        tokens = [s.tokens for s in segments]
        read = self._read(hashes, points)
        upto = points[-1] + 1 if points and sum(tokens[: points[-1] + 1]) >= _MINIMUM_TOKENS else 0
        self.written.update(hashes[p] for p in points)
        cached, created = sum(tokens[:read]), max(0, sum(tokens[:upto]) - sum(tokens[:read]))
        return {
            "input_tokens": sum(tokens) - cached - created,
            "cache_read_input_tokens": cached,
            "cache_creation_input_tokens": created,
            "cache_creation": {"ephemeral_5m_input_tokens": 0, "ephemeral_1h_input_tokens": created},
        }

    def _read(self, hashes: list[bytes], points: list[int]) -> int:
        for point in reversed(points):
            for i in range(point, max(-1, point - _LOOKBACK), -1):
                if hashes[i] in self.written:
                    return i + 1
        return 0
