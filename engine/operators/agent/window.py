"""The model's window: when a conversation is full, and whether an epoch can begin in it at all."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any

from engine.record.frozen import dataclass

SOFT, LATE, HARD = 0.60, 0.70, 0.80
SOFT_TOKENS = 150_000
COOLDOWN_REPLIES = 10
_BYTES_PER_TOKEN = 3.5


@dataclass(frozen=True, slots=True)
class Window:
    """A window of `tokens`. Fractions of it decide; the soft trigger is never above 150,000 tokens."""

    tokens: int

    @classmethod
    def of(cls, configured: int, told: int | None) -> Window:
        """The configured window, or the model's own when that is smaller."""
        return cls(min(configured, told) if told else configured)

    def reply(self, configured: int, told: int | None) -> int:
        """How long a reply may be: as configured, no longer than the model's longest, and always within the window.

        Servers refuse a request whose conversation and reply together pass the window, or whose reply alone
        passes what the model can give.
        """
        return max(1, min(configured, told or configured, self.tokens // 5))

    @property
    def soft(self) -> int:
        """From here on a new epoch begins at the next good moment."""
        return min(int(self.tokens * SOFT), SOFT_TOKENS)

    @property
    def card_limit(self) -> int:
        """How large an opening may be: two fifths of the soft trigger, so that an epoch has room to work."""
        return int(self.soft * 0.4)

    @property
    def count_above(self) -> int:
        """Additions larger than this are counted by the server before they are sent."""
        return min(20_000, self.tokens // 10)

    def full(self, tokens: int, *, settled: bool, replies: int) -> bool:
        """Whether to compact now. `settled`: an evaluation has just ended; `replies`: how many the epoch has."""
        if tokens > self.tokens * HARD:
            return replies > 0
        late = settled or tokens > max(self.soft * LATE / SOFT, self.soft)
        return tokens > self.soft and late and replies >= COOLDOWN_REPLIES

    def holds(self, fixed: int, opening: int) -> bool:
        """Whether instructions, tools and an opening leave at least half the window to work in."""
        return opening <= self.tokens * 0.25 and fixed + opening <= self.tokens * 0.5


def estimate(blocks: Iterable[Mapping[str, Any]]) -> int:
    """A cautious estimate of the tokens in blocks that the server has not counted yet."""
    return int(sum(len(json.dumps(block, ensure_ascii=False)) for block in blocks) / _BYTES_PER_TOKEN)
