"""A kernel against itself in real rounds: measured once by the real scorer, then judged two hundred times by resampling."""

from __future__ import annotations

import json
import random
import shutil
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from engine import gate
from engine.data import kernels_directory
from engine.gate import More, Round
from tests.gate.rounds import CORRECT, RULE

ROUNDS = 40


def _measured(problem: Path, sources: list[Path]) -> list[Round]:
    names = ["full_512", "causal_1024"]
    request = {"id": "1", "op": "rounds", "sources": [str(s) for s in sources], "problem": str(problem),
               "configurations": names, "rounds": ROUNDS, "first": 0}  # fmt: skip
    command = [sys.executable, "-m", "engine.scorer"]
    done = subprocess.run(command, input=json.dumps(request), capture_output=True, text=True, check=True)
    answer = json.loads(done.stdout.splitlines()[-1])
    return [Round.from_json(r) for r in answer.get("result", answer)["rounds"]]


def _swapped(taken: Round) -> Round:
    return Round(taken.order, taken.latency_us[::-1], taken.failures[::-1], taken.seconds)


@pytest.mark.soak
@pytest.mark.timeout(600)
def test_the_same_kernel_measured_for_real_is_called_improved_at_most_once_in_a_hundred(tmp_path: Path):
    problem = kernels_directory() / "mha_cpu"
    sources = [shutil.copytree(problem / "seed", tmp_path / name) for name in ("one", "other")]
    pool = _measured(problem, sources)
    rng, verdicts = random.Random(1), Counter[str]()
    for _ in range(200):
        rounds: list[Round] = []
        while isinstance(decision := gate.decide(CORRECT, rounds, RULE), More):
            drawn = rng.choices(pool, k=decision.rounds)
            rounds += [r if rng.random() < 0.5 else _swapped(r) for r in drawn]
        verdicts[decision.verdict] += 1
    assert verdicts["improved"] <= 2, verdicts
    assert verdicts["incorrect"] == 0
