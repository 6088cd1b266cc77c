"""Runs are found by name, prefix or path, and made private."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from engine.record.errors import ConfigError, RunNotFound, UsageError
from engine.record.journal import Journal
from engine.record.run import create_run, find_run, list_runs, runs_directory


def test_a_new_run_is_private_and_never_takes_anothers_folder(tmp_path: Path) -> None:
    first, second = create_run(tmp_path, "mha_cpu"), create_run(tmp_path, "mha_cpu")
    assert first.path != second.path
    assert first.path.stat().st_mode & 0o777 == 0o700
    create_run(tmp_path, "mha_cpu", "mine")
    with pytest.raises(UsageError, match="exists already"):
        create_run(tmp_path, "mha_cpu", "mine")


@pytest.mark.parametrize("name", ["../up", "", "a/b", ".hidden", "x" * 65, "a b"])
def test_an_unusable_name_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(UsageError):
        create_run(tmp_path, "mha_cpu", name)


def test_a_run_is_found_by_name_prefix_path_and_as_the_newest(tmp_path: Path) -> None:
    for n, name in enumerate(("alpha", "beta", "betamax")):
        run = create_run(tmp_path, "p", name)
        Journal.create(run.journal, name).close()
        for path in run.path.glob("journal.db*"):
            os.utime(path, (n, n))
    assert find_run(tmp_path, "alp").name == "alpha"
    assert find_run(tmp_path, "beta").name == "beta"
    assert find_run(tmp_path, str(tmp_path / "beta")).name == "beta"
    assert find_run(tmp_path, None).name == "betamax"
    assert [r.name for r in list_runs(tmp_path)] == ["betamax", "beta", "alpha"]
    with pytest.raises(RunNotFound, match="prefix of 2 runs"):
        find_run(tmp_path, "bet")
    with pytest.raises(RunNotFound, match="no run 'gamma'"):
        find_run(tmp_path, "gamma")


def test_without_runs_the_message_says_how_to_start_one(tmp_path: Path) -> None:
    with pytest.raises(RunNotFound, match="avo run"):
        find_run(tmp_path / "absent", None)


def test_a_place_that_cannot_hold_runs_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match="--runs"):
        create_run(tmp_path / "file", "mha_cpu")


def test_where_runs_live(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("AVO_RUNS", raising=False)
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    assert runs_directory() == tmp_path / "state" / "avo" / "runs"
    monkeypatch.setenv("AVO_RUNS", str(tmp_path / "mine"))
    assert runs_directory() == tmp_path / "mine"
    assert runs_directory(tmp_path / "given") == tmp_path / "given"
