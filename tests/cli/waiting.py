"""Waiting for a run: poll with a deadline, never sleep and hope."""

import time
from collections.abc import Callable
from typing import Any

from engine.record.reader import Reader
from engine.record.run import RunFolder

DEADLINE_S = 60.0


def until(what: Callable[[], Any], deadline_s: float = DEADLINE_S) -> Any:
    """Poll until `what()` is true; its value."""
    end = time.monotonic() + deadline_s
    while time.monotonic() < end:
        if value := what():
            return value
        time.sleep(0.02)
    raise AssertionError("it did not come to pass in time")


def versions_of(folder: RunFolder) -> int:
    """How many versions a run has by now."""
    with Reader(folder.journal) as reader:
        return reader.counts()[0]
