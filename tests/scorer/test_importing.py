"""What a scorer does before torch is there and without it, and what it says when torch is needed and never comes."""

import json
import os
import subprocess
import sys
import time

import pytest
from served import KERNELS, ROOT, SMALL

PROBLEM = KERNELS / "mha_cpu"


def asked(torch_says: str, tmp_path, *requests: dict, cache=None) -> tuple[list[dict], list[float]]:
    """Answers of a scorer whose torch is this module, and when each of them came."""
    (tmp_path / "torch.py").write_text(torch_says)
    lines = "".join(json.dumps(r) + "\n" for r in requests)
    argv = [sys.executable, "-m", "engine.scorer", "--serve"]
    env = {**os.environ, "PYTHONPATH": f"{tmp_path}{os.pathsep}{ROOT}", **({"AVO_CACHE": str(cache)} if cache else {})}
    answers, times, start = [], [], time.monotonic()
    with subprocess.Popen(argv, cwd=ROOT, env=env, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        process.stdin.write(lines)
        process.stdin.close()
        for line in process.stdout:
            answers.append(json.loads(line))
            times.append(time.monotonic() - start)
    assert process.returncode == 0
    return answers, times


def test_a_probe_does_not_wait_for_torch_and_a_baseline_does(tmp_path):
    slow = "import time\ntime.sleep(8)\nraise ImportError('eight seconds later')\n"
    baseline = {"id": "b", "op": "baseline", "problem": str(PROBLEM)}
    answers, times = asked(slow, tmp_path, {"id": "p", "op": "probe"}, baseline)
    assert [a["event"] for a in answers] == ["result", "error"]
    assert answers[0]["result"]["sandbox"]["tier"] != "none"
    assert times[0] < times[1] - 2


@pytest.mark.parametrize(
    ("torch_says", "said"),
    [
        ("raise ImportError('libcudart.so.13: cannot open shared object file')", "libcudart.so.13: cannot open"),
        ("raise OSError('two\\nlines')", "two lines"),
        ("raise SystemError", "SystemError"),
    ],
)
def test_without_torch_the_reason_is_one_line(torch_says, said, tmp_path):
    answers, _ = asked(torch_says, tmp_path, {"id": "b", "op": "baseline", "problem": str(PROBLEM)})
    assert [a["event"] for a in answers] == ["error"]
    assert said in answers[0]["error"]
    assert "torch cannot be imported" in answers[0]["error"]
    assert "\n" not in answers[0]["error"]


def test_candidates_are_judged_and_profiled_without_torch_once_the_truths_were_compared(scorer, cache, tmp_path):
    seed = SMALL / "seed"
    assert scorer.score(seed)["correct"]
    requests = [
        {"id": "s", "op": "score", "problem": str(SMALL), "source": str(seed), "suite": "quick"},
        {"id": "r", "op": "rounds", "problem": str(SMALL), "sources": [str(seed), str(seed)], "rounds": 1},
        {"id": "p", "op": "profile", "problem": str(SMALL), "source": str(seed), "suite": "quick"},
        {"id": "b", "op": "rounds", "problem": str(SMALL), "sources": [str(seed), "baseline:*"], "rounds": 1},
    ]
    answers, _ = asked("raise ImportError('not here')", tmp_path, *requests, cache=cache)
    ends = {a["id"]: a for a in answers if a["event"] in ("result", "error")}
    assert ends["s"]["result"]["correct"]
    assert len(ends["r"]["result"]["rounds"]) == 1
    assert ends["p"]["result"]["facts"]["machine.memory_gb_s"] > 0.0
    assert "torch cannot be imported: not here" in ends["b"]["error"]
