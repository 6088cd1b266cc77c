"""Fixtures: one real scorer for a session, its own build cache, and candidates written from text."""

from __future__ import annotations

import importlib
import os
import tempfile
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from served import Scorer, path_without, with_programs


@pytest.fixture(scope="session")
def cache() -> Iterator[Path]:
    """A build cache of these tests' own, where a sandbox's uid can reach it (pytest's folders are closed to others).

    It begins with the scorer's own programs, from the session's cache. AVO_TEST_CACHE names one that is kept, and may
    have been filled before.
    """
    if kept := os.environ.get("AVO_TEST_CACHE"):
        yield Path(kept)
        return
    with tempfile.TemporaryDirectory(prefix="avo-tests-") as folder:
        Path(folder).chmod(0o755)
        with_programs(Path(folder))
        yield Path(folder)


@pytest.fixture(scope="session")
def scorer(cache: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scorer]:
    """The scorer in the best sandbox of this machine; AVO_TEST_TIER=landlock makes it the second best."""
    environment = {"AVO_CACHE": str(cache), "AVO_TEST_SECRET": "do not show", "CPATH": "/nowhere"}
    if os.environ.get("AVO_TEST_TIER") == "landlock":
        environment["PATH"] = path_without("bwrap", place=tmp_path_factory.mktemp("bin"))
    served = Scorer(environment)
    yield served
    served.close()


@pytest.fixture(scope="session")
def landlock_scorer(cache: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scorer]:
    """The scorer on a machine without bubblewrap."""
    served = Scorer({"AVO_CACHE": str(cache), "PATH": path_without("bwrap", place=tmp_path_factory.mktemp("bin"))})
    yield served
    served.close()


@pytest.fixture(scope="session")
def torch() -> Any:
    """torch, for the few tests that speak it: at the top of a file every worker would import it to collect them."""
    with warnings.catch_warnings():  # torch warns that numpy is absent; nothing here uses it
        warnings.simplefilter("ignore")
        return importlib.import_module("torch")


@pytest.fixture
def candidate(tmp_path: Path):
    """Write a candidate folder from named texts; returns its path."""

    def write(text: str = "", **files: str) -> Path:
        folder = tmp_path / "candidate"
        folder.mkdir(exist_ok=True)
        if text:
            (folder / "attention.cpp").write_text(text)
        for name, content in files.items():
            (folder / name.replace("__", ".")).write_text(content)
        return folder

    return write
