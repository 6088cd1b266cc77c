"""A request's JSON, of which only what is new is encoded: a conversation is sent whole every turn.

One rule: a message is encoded for good once another one follows it. Only the last of a conversation still grows
(history.py), so that every request begins with the very bytes of the one before.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

_ENCODER = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"), allow_nan=False)


class Wire:
    """The messages of the conversation that was sent last, as JSON."""

    def __init__(self) -> None:
        self._settled: list[Mapping[str, Any]] = []
        self._json: list[bytes] = []

    def body(self, given: Mapping[str, Any], messages: Sequence[Mapping[str, Any]]) -> bytes:
        """A request's body: what is given for this one, and the messages."""
        return b"".join((_encode(given)[:-1], b',"messages":[', self._messages(messages), b"]}"))

    def _messages(self, messages: Sequence[Mapping[str, Any]]) -> bytes:
        """Another conversation, or an earlier point of this one, shares its beginning and is encoded from there on."""
        same = _shared(self._settled, messages[:-1])
        del self._settled[same:], self._json[same:]
        for message in messages[same:-1]:
            self._json.append(_encode(message))
            self._settled.append(message)
        return b",".join([*self._json, *map(_encode, messages[-1:])])


def _encode(value: Mapping[str, Any]) -> bytes:
    return _ENCODER.encode(value).encode()


def _shared(old: Sequence[object], new: Sequence[object]) -> int:
    """How many of the first messages are the same objects; each is held, so that none can be mistaken for another."""
    return next((i for i, (a, b) in enumerate(zip(old, new, strict=False)) if a is not b), min(len(old), len(new)))
