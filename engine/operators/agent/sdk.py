"""The SDK, imported without the transport that it would bring along.

It imports aiohttp wherever that is installed (textual-serve brings it): a sixth of the time that an engine takes to
resume, for a client that is not used here.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def _without(package: str) -> Iterator[None]:
    """Meanwhile this package cannot be imported, unless it was before; None in its place says so to the importer."""
    if package in sys.modules:
        yield
        return
    sys.modules[package] = None  # type: ignore[assignment]
    try:
        yield
    finally:
        del sys.modules[package]


with _without("aiohttp"):
    import anthropic
    from anthropic.types import Message, MessageTokensCount

__all__ = ["Message", "MessageTokensCount", "anthropic"]
