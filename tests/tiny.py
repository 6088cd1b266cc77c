"""What tests of several rooms share: a problem that takes no time, and waiting with a deadline."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

DEADLINE_S = 60.0
PROBLEM = """
name = "tiny"
title = "Two small configurations"
language = "cpp"
dtype = "float32"
tolerance = 1e-4
[build]
flags = ["-O2"]
allowed = []
[[configuration]]
name = "small"
batch = 1
seqlen = 16
heads_q = 1
heads_kv = 1
head_dim = 16
causal = false
quick = true
[[configuration]]
name = "causal"
batch = 1
seqlen = 32
heads_q = 1
heads_kv = 1
head_dim = 16
causal = true
"""


def until(what: Callable[[], Any], deadline_s: float = DEADLINE_S) -> Any:
    """Poll until `what()` is true; its value."""
    end = time.monotonic() + deadline_s
    while time.monotonic() < end:
        if value := what():
            return value
        time.sleep(0.02)
    raise AssertionError("it did not come to pass in time")
