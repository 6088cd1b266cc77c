"""Runs to look at: one scripted evolution, written once for each session and copied for tests that change it."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from engine.record.run import RunFolder
from tests.room import scripted


@pytest.fixture(scope="session")
def story(tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    """A scripted run of 66 attempts, running. Read it only."""
    return scripted.write(tmp_path_factory.mktemp("story") / "mha_cpu-demo")


@pytest.fixture
def run(story: RunFolder, tmp_path: Path) -> RunFolder:
    """A copy of the story that a test may change."""
    shutil.copytree(story.path, tmp_path / story.name)
    return RunFolder(tmp_path / story.name)


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Settings and small files of the room stay in the test's own folder; the clock is in UTC."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.setenv("TZ", "UTC")
    monkeypatch.setenv("AVO_PERSON", "grace")
    for name in ("NO_COLOR", "AVO_ASCII", "AVO_RUNS"):
        os.environ.pop(name, None)
    yield tmp_path
