"""The toy runs of the playbook's tests; whatever they started is ended with the test."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from playbook_toy import Toy


@pytest.fixture
def toy(tmp_path: Path) -> Iterator[Callable[..., Toy]]:
    """Make toy runs: toy({"10-a.toml": ...}, avx512=True, limits=...)."""
    made: list[Toy] = []

    def make(book: dict[str, str], machine: dict[str, Any] | None = None, **fields: Any) -> Toy:
        made.append(Toy(tmp_path / f"toy{len(made)}", book, machine or {}, **fields))
        return made[-1]

    yield make
    for each in made:
        each.kill()
