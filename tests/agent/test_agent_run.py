"""A whole run by the agent: the command line, a real engine, scorer, gate and lineage, and a loopback model."""

from __future__ import annotations

import json
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from messages_server import Fault, MessagesServer
from messages_server.faults import status
from messages_server.improver import Improver

from engine.record.reader import Reader

MHA_CPU = Path(__file__).parents[2] / "kernels" / "mha_cpu"


def avo(runs: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "AVO_RUNS": str(runs), "AVO_PERSON": "lena"}
    command = [sys.executable, "-m", "avo_tui.cli", *arguments]
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=400, check=False)


def events(runs: Path, run: str) -> list[dict[str, Any]]:
    told = avo(runs, "log", run, "--json").stdout
    try:
        value = json.loads(told)
    except ValueError:
        return [json.loads(line) for line in told.splitlines()]
    return value if isinstance(value, list) else [value]


def less_of_mha_cpu(place: Path) -> Path:
    """The problem as it ships with two of its eight heads and one of its lengths: its seed takes half a second."""
    folder = shutil.copytree(MHA_CPU, place / "mha_cpu")
    text = (folder / "problem.toml").read_text()
    for other in re.findall(r"\[\[configuration\]\]\nname = \"\w+_(?:256|1024|2048)\"\n(?:\w+ = \w+\n)+\n", text):
        text = text.replace(other, "")
    text = text.replace("heads_q = 8", "heads_q = 2").replace("heads_kv = 8", "heads_kv = 2")
    assert text.count("[[configuration]]") == 2
    (folder / "problem.toml").write_text(text)
    return folder


@pytest.mark.timeout(420)
@pytest.mark.parametrize("most", [2, pytest.param(3, marks=pytest.mark.soak)])
def test_a_run_against_a_loopback_model_commits_real_versions(tmp_path: Path, most: int) -> None:
    faults = [None, status(529, retry_after="0"), None, Fault("reset", after=3)]
    problem, hasty = less_of_mha_cpu(tmp_path), tmp_path / "hasty.toml"
    hasty.write_text("[scorer]\npatience_s = 0.0\n")
    with MessagesServer(Improver(), faults=faults) as server:
        run = avo(
            tmp_path, "run", "--problem", str(problem), "--operator", "agent", "--base-url", server.url, "--headless",
            "--versions", str(most), "--minutes", "6", "--name", "first", "--config", str(hasty),
        )  # fmt: skip
        assert run.returncode == 0, run.stdout + run.stderr
        assert not server.rejected and server.reuse() >= 0.99
    versions = json.loads(avo(tmp_path, "versions", "first", "--json").stdout)
    assert [v["version"] for v in versions] == list(range(most + 1))
    assert versions[most]["geomean_tflops"] > versions[0]["geomean_tflops"]
    log = events(tmp_path, "first")
    kinds = Counter(e["kind"] for e in log)
    assert kinds["spent"] >= 10 and kinds["waited"] == 2 and kinds["plan"] >= 3 and kinds["note"] == 1
    assert kinds["tool_started"] == kinds["tool_finished"]
    assert kinds["profile"] == 1
    [profiled] = [e for e in log if e["kind"] == "tool_finished" and e["data"]["tool"] == "profile"]
    assert all(words in profiled["data"]["text"] for words in ("where the time goes", "roofline"))
    attempts = json.loads(avo(tmp_path, "attempts", "first", "--json").stdout)
    stages = [a["stage"] for a in attempts]
    assert "check" in stages and "build" in stages
    spend = json.loads(avo(tmp_path, "status", "first", "--json").stdout)["spend"]
    assert spend["output_tokens"] == server.billed["output_tokens"]


def _engine_pid(runs: Path, run: str) -> int:
    with Reader(runs / run / "journal.db") as reader:
        engine = reader.engine()
    assert engine is not None
    return engine.pid


def _turns(runs: Path, run: str) -> int:
    with Reader(runs / run / "journal.db") as reader:
        return len(reader.events(kinds=("spent",), limit=10_000))


@pytest.mark.soak
@pytest.mark.timeout(900)
def test_a_real_run_that_is_killed_again_and_again_goes_on_and_loses_no_version(tmp_path: Path) -> None:
    dice = random.Random(7)
    with MessagesServer(Improver(steps=60)) as server:
        arguments = ("--operator", "agent", "--base-url", server.url, "--detach", "--minutes", "20", "--name", "k")
        assert avo(tmp_path, "run", "mha_cpu", *arguments).returncode == 0
        kept: list[str] = []
        for _ in range(12):
            before, deadline = _turns(tmp_path, "k"), time.monotonic() + 90
            while _turns(tmp_path, "k") < before + 2 and time.monotonic() < deadline:
                time.sleep(0.05)
            assert _turns(tmp_path, "k") >= before + 2, "the run did not go on"
            time.sleep(dice.random() * 4)
            os.kill(_engine_pid(tmp_path, "k"), signal.SIGKILL)
            versions = json.loads(avo(tmp_path, "versions", "k", "--json").stdout)
            commits = [v["commit"] for v in versions]
            assert commits[: len(kept)] == kept
            kept = commits
            assert avo(tmp_path, "resume", "k").returncode == 0
        assert avo(tmp_path, "stop", "k").returncode == 0
        assert not server.rejected, server.rejected[:3]
    log = events(tmp_path, "k")
    calls = [e["data"]["call"] if "data" in e else e["call"] for e in log if e["kind"] == "tool_started"]
    assert len(calls) == len(set(calls)), "a tool call ran twice"


def test_without_a_key_the_agent_says_what_to_do(tmp_path: Path) -> None:
    run = avo(tmp_path, "run", "mha_cpu", "--operator", "agent", "--headless")
    assert run.returncode == 2 and "ANTHROPIC_API_KEY" in run.stderr
    assert len(run.stderr.strip().splitlines()) == 1


def test_a_wrong_key_ends_the_run_before_anything_is_measured(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ANTHROPIC_API_KEY", "wrong")
    with MessagesServer(Improver(), key="right") as server:
        run = avo(tmp_path, "run", "mha_cpu", "--base-url", server.url, "--headless", "--name", "w")
    assert run.returncode == 2 and "does not accept the key (401: invalid x-api-key)" in run.stderr
    with Reader(tmp_path / "w" / "journal.db") as reader:
        assert reader.counts() == (0, 0) and not server.seen
        state = reader.tail(1, kinds=("state",))[0].title
    assert state.startswith("finished: ") and "set ANTHROPIC_API_KEY and resume the run" in state
