"""Time travel: from what a person types or steps to, to the event whose moment is shown."""

from __future__ import annotations

import re
import time

from engine.record.errors import UsageError
from engine.record.reader import Reader

_SPAN = re.compile(r"[-+]?(\d+(?:\.\d+)?)\s*(s|m|h|d)\Z")
_SECONDS = {"s": 1.0, "m": 60.0, "h": 3600.0, "d": 86_400.0}
HELP = "v7, a41, 14:05, -20m (ago), +20m (after the start), #1234, or now"


def target(reader: Reader, text: str, now: float) -> int | None:
    """The event to go to; None for now. Raises UsageError with what would be understood."""
    word = text.strip().lower()
    if word in ("now", "live", "end", ""):
        return None
    if found := re.fullmatch(r"v(\d+)", word):
        version = reader.version(int(found[1]))
        return _known(version.seq if version else None, text)
    if found := re.fullmatch(r"a(\d+)", word):
        attempt = reader.attempt(int(found[1]))
        return _known(attempt.seq if attempt else None, text)
    if found := re.fullmatch(r"#?(\d+)", word):
        return _known(int(found[1]) if 0 < int(found[1]) <= reader.last_seq() else None, text)
    return reader.seq_at(_time(reader, word, now)) or 1


def _known(seq: int | None, text: str) -> int:
    if seq is None:
        raise UsageError(f"this run has no {text.strip()}")
    return seq


def _time(reader: Reader, word: str, now: float) -> float:
    if found := _SPAN.match(word):
        seconds = float(found[1]) * _SECONDS[found[2]]
        return float(reader.meta("created_at") or 0.0) + seconds if word.startswith("+") else now - seconds
    if found := re.fullmatch(r"(\d{1,2}):(\d{2})(?::(\d{2}))?", word):
        hour, minute, second = int(found[1]), int(found[2]), int(found[3] or 0)
        if hour < 24 and minute < 60 and second < 60:
            today = time.localtime(now)
            at = time.mktime((*today[:3], hour, minute, second, 0, 0, -1))
            return at if at <= now else at - 86_400.0
    raise UsageError(f"cannot go to {word!r}; try {HELP}")


def step(reader: Reader, at: int | None, by: int, kind: str) -> int | None:
    """The event of `kind` before (-1) or after (+1) a moment; None when that is the live one.

    Raises UsageError at the beginning of the run.
    """
    if by < 0:
        before = reader.tail(1, before=(at if at is not None else reader.last_seq() + 1), kinds=(kind,))
        if not before:
            raise UsageError(f"there is no earlier {kind}")
        return before[0].seq
    if at is None:
        raise UsageError("this is now")
    after = reader.events(at, kinds=(kind,), limit=1)
    return after[0].seq if after else None
