"""Live text: what happens now, for whoever watches. Replaced as it changes, never history."""

from __future__ import annotations

import time
from collections.abc import Callable

from engine.record.journal import Journal

TEXT_LIMIT = 16_000
LIVE_PERIOD_S = 0.2


class LiveText:
    """The `live` slots, written at most five times a second each, the last text never lost for long."""

    def __init__(self, journal: Journal, clock: Callable[[], float] = time.monotonic) -> None:
        self._journal, self._clock = journal, clock
        self._text: dict[str, str] = {}
        self._written: dict[str, tuple[float, str]] = {}

    def put(self, slot: str, text: str) -> None:
        """Replace a slot's text."""
        self._text[slot] = text
        at, _ = self._written.get(slot, (float("-inf"), ""))
        if not text or self._clock() - at >= LIVE_PERIOD_S:
            self._write(slot)

    def extend(self, slot: str, text: str) -> None:
        """Append to a slot's text, keeping its tail."""
        self.put(slot, (self._text.get(slot, "") + text)[-TEXT_LIMIT:])

    def clear(self, slot: str) -> None:
        """Empty a slot, when it holds something."""
        if self._text.get(slot):
            self.put(slot, "")

    def flush(self) -> None:
        """Write what was held back."""
        for slot in self._text:
            self._write(slot)

    def _write(self, slot: str) -> None:
        text = self._text[slot]
        if self._written.get(slot, (0.0, None))[1] != text:
            self._journal.live(slot, text)
            self._written[slot] = (self._clock(), text)


def cap(text: str, limit: int = TEXT_LIMIT) -> str:
    """A text within `limit` characters: its head and its tail, and how much is missing between."""
    if len(text) <= limit:
        return text
    half = limit // 2
    return f"{text[:half]}\n… {len(text) - 2 * half:,} characters left out; the log has them …\n{text[-half:]}"
