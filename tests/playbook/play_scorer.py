"""A scorer for a toy problem: how fast a candidate is stands in its source, and what the machine is in a file.

// gain: 1.5                  each such line multiplies the speed        // wrong      fails the check
constexpr int kTile = 32;     every doubling away from 64 costs 10 %
// gain on avx512: 2.0        counts only where machine.json says so
// unlucky: 3                 so many first comparisons with it show less than half of its speed

Where machine.json says "machine.long_calls", a call takes a million times as long when it is scored.
"""

import json
import math
import re
import sys
import time
import tomllib
from pathlib import Path

NAMES = ("full", "causal")


def say(request: dict, **fields: object) -> None:
    print(json.dumps({"id": request["id"], **fields}), flush=True)


def machine(request: dict) -> dict:
    return json.loads((Path(request["problem"]) / "machine.json").read_text())


def text_of(source: str) -> str:
    return "\n".join(p.read_text() for p in sorted(Path(source).glob("*.cpp")))


def speed(request: dict, text: str) -> float:
    result = 0.01
    for fact, gain in re.findall(r"// gain(?: on (\w+))?: ([\d.]+)", text):
        if not fact or machine(request).get(f"machine.{fact}"):
            result *= float(gain)
    if tile := re.search(r"kTile = (\d+);", text):
        result *= 0.9 ** abs(math.log2(int(tile[1]) / 64))
    return result


def chosen(request: dict) -> list[str]:
    if request.get("configurations"):
        return list(request["configurations"])
    data = tomllib.loads((Path(request["problem"]) / "problem.toml").read_text())["configuration"]
    return [c["name"] for c in data if request.get("suite") != "quick" or c.get("quick")]


def score(request: dict) -> dict:
    text = text_of(request["source"])
    if slow := re.search(r"// slow: ([\d.]+)", text):
        time.sleep(float(slow[1]))
    wrong, tflops = "// wrong" in text, speed(request, text)
    call_us = (1e6 if machine(request).get("machine.long_calls") else 1.0) / tflops
    rows = [
        {
            "name": n,
            "correct": not wrong,
            "tflops": None if wrong else tflops,
            "latency_us": None if wrong else call_us,
        }
        for n in chosen(request)
    ]
    stage, reason = ("check", "row 3 differs") if wrong else ("ok", "")
    return {
        "problem": "toy", "correct": not wrong, "stage": stage, "reason": reason, "device": "toy", "seconds": 0.0,
        "configurations": rows, "geomean_tflops": None if wrong else tflops, "suite": request.get("suite", "full"),
    }  # fmt: skip


def luck(request: dict, text: str) -> float:
    """0.4 for the first comparisons of an unlucky candidate, told over restarts by a file beside the problem."""
    unlucky = re.search(r"// unlucky: (\d+)", text)
    if not unlucky:
        return 1.0
    told = Path(request["problem"]) / "compared.txt"
    before = len(told.read_text()) if told.exists() else 0
    told.write_text("x" * (before + 1))
    return 0.4 if before < int(unlucky[1]) else 1.0


def rounds(request: dict) -> dict:
    texts = [text_of(s) for s in request["sources"]]
    latency = [[1 / (speed(request, t) * luck(request, t))] * len(chosen(request)) for t in texts]
    one = {"order": list(range(len(latency))), "latency_us": latency, "failures": [None] * len(latency), "seconds": 0.0}
    return {"rounds": [one] * request["rounds"], "configurations": chosen(request), "integrity": {}}


def profile(request: dict) -> dict:
    return {"text": "a toy", "facts": {**machine(request), "profile.vector_bits": 256}, "log": ""}


def baseline(request: dict) -> dict:
    rows = [{"name": n, "correct": True, "tflops": 0.05, "latency_us": 20.0} for n in NAMES]
    return {
        "torch_sdpa": {
            "problem": "toy", "correct": True, "stage": "ok", "reason": "", "device": "toy", "seconds": 0.0,
            "configurations": rows, "geomean_tflops": 0.05,
        }
    }  # fmt: skip


OPS = {"score": score, "rounds": rounds, "profile": profile, "baseline": baseline, "probe": lambda r: {"device": "toy"}}

for line in sys.stdin:
    asked = json.loads(line)
    if asked.get("op") in OPS:
        say(asked, event="result", result=OPS[asked["op"]](asked))
