"""A store of pages of one's own, empty, and the knowledge base over it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from engine.knowledge import Knowledge, Place


@pytest.fixture
def store(tmp_path: Path) -> Path:
    return tmp_path / "store"


@pytest.fixture
def base(store: Path) -> Iterator[Knowledge]:
    opened = Knowledge((Place("person", store),))
    yield opened
    opened.close()
