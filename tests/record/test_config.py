"""A configuration reads back as it was written, and says where it is wrong."""

from __future__ import annotations

from pathlib import Path

import pytest

from engine.record.config import GateConfig, Limits, RunConfig, ScorerConfig, load, save
from engine.record.errors import ConfigError


def test_a_configuration_reads_back_as_it_was_written(tmp_path: Path) -> None:
    config = RunConfig(
        problem='odd "name" \\ é',
        problem_path="/x",
        limits=Limits(versions=3, minutes=1.5),
        scorer=ScorerConfig(command=("ssh", "gpu", "python3 -m engine.scorer"), unsafe_no_sandbox=True),
        gate=GateConfig(confidence=0.99),
        prices={"some.model": {"input": 5.0}},
    )
    save(config, tmp_path / "config.toml")
    assert load(tmp_path / "config.toml") == config


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("problem = 'p'\nproblem_path = 'x'\nspeed = 3", "unknown key 'speed'"),
        ("problem = 'p'", "'problem_path' is missing"),
        ("problem = 3\nproblem_path = 'x'", "problem = 3 is not str"),
        ("problem = 'p'\nproblem_path = 'x'\n[limits]\nversions = 'many'", "limits: versions = 'many' is not int"),
        ("problem = 'p'\nproblem_path = 'x'\n[limits]\nversions = true", "versions = True is not int"),
        ("problem = 'p'\nproblem_path = 'x'\nlimits = 3", "limits must be a table"),
        ("problem = 'p'\nproblem_path = 'x'\n[operator]\nx = 1", "operator must not be a table"),
        ("problem = ", "config.toml"),
    ],
)
def test_a_wrong_configuration_names_its_place(tmp_path: Path, text: str, complaint: str) -> None:
    path = tmp_path / "config.toml"
    path.write_text(text)
    with pytest.raises(ConfigError, match=complaint) as caught:
        load(path)
    assert "\n" not in str(caught.value)
