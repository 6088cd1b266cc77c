"""Where a run scores on several devices, the parameter search measures its moves side by side."""

import os
import sys

import pytest
from playbook_toy import HERE, direction

from engine.record.config import ScorerConfig
from engine.record.reader import Reader

CORES = sorted(os.sched_getaffinity(0))
pytestmark = pytest.mark.skipif(len(CORES) < 2, reason="needs two processors")
BOOK = {"01-good.toml": direction("good"), "playbook.toml": "[search]\nkTile = [8, 16, 32, 64, 128, 256, 512]\n"}


def devices():
    """Two devices: a processor each."""
    command = (sys.executable, str(HERE / "play_scorer.py"))
    return ScorerConfig(command=command, devices=tuple(str(core) for core in CORES[:2]))


def test_moves_are_measured_together_and_the_best_goes_to_the_gate(toy):
    run = toy(BOOK, scorer=devices())
    assert run.play() == 0
    assert run.committed() == ["seed", "good", "tune:kTile=64"]
    with Reader(run.folder.journal) as reader:
        tried = [a for a in reader.attempts() if a.direction.startswith("tune:")]
        started = [e.event() for e in reader.events(kinds=("tool_started",))]
        told = {d.direction: (d.state, d.why) for d in reader.directions()}
    assert {a.direction for a in tried} == {f"tune:kTile={n}" for n in (8, 16, 32, 64, 128, 256, 512)}
    assert len({(a.direction, a.parent) for a in tried if a.verdict is None}) == len(
        [a for a in tried if a.verdict is None]
    )
    races = [s.arguments["variants"] for s in started if s.tool == "evaluate" and "variants" in s.arguments]
    assert [len(race) for race in races][:3] == [2, 2, 2]
    assert told["tune:kTile=16"][0] == "regressed"
    assert "0.81" in told["tune:kTile=16"][1] or "0.9" in told["tune:kTile=16"][1]


def test_one_device_tries_one_move_after_another(toy):
    run = toy(BOOK)
    assert run.play() == 0
    with Reader(run.folder.journal) as reader:
        started = [e.event() for e in reader.events(kinds=("tool_started",))]
    assert run.committed() == ["seed", "good", "tune:kTile=64"]
    assert not [s for s in started if "variants" in s.arguments]
