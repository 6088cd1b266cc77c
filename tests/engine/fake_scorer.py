"""A scorer that speaks the protocol over pipes and measures nothing: a candidate's comments say how it does.

    // speed: 2.0     2 TFLOPS in every configuration (1.0 when it does not say)
    // at first: 0.5  its speed the first time it is scored
    // wrong          fails the check            // slow: 0.5   each answer takes half a second
    // wrong later    only fails it when it is scored once more
    // wrong when patient   fails it only in an evaluation that may wait for quiet
    // die            the scorer itself exits    // mute        it never answers
    // build: 0.1     seconds of building        // time: 0.1   seconds of timing each candidate or round

Its latencies wobble by a tenth of a percent, the same way on every machine.
"""

import json
import os
import random
import re
import sys
import time
import tomllib
from pathlib import Path

OUT = sys.stdout
SCORED: set[str] = set()


def say(request: dict, **fields: object) -> None:
    OUT.write(json.dumps({"id": request["id"], **fields}) + "\n")
    OUT.flush()


def text_of(source: str) -> str:
    path = Path(source)
    files = [path] if path.is_file() else sorted(p for p in path.iterdir() if p.suffix == ".cpp")
    return "\n".join(p.read_text() for p in files)


def number(text: str, name: str, default: float) -> float:
    found = re.search(rf"// {name}: ([\d.]+)", text)
    return float(found.group(1)) if found else default


def names(request: dict) -> list[str]:
    data = tomllib.loads((Path(request["problem"]) / "problem.toml").read_text())
    every = data["configuration"]
    if request.get("configurations"):
        return list(request["configurations"])
    quick = request.get("suite") == "quick"
    return [c["name"] for c in every if not quick or c.get("quick")]


def behave(request: dict, text: str) -> None:
    say(request, event="progress", phase="build", configuration=None, done=1, of=1, text="")
    say(request, event="output", text="compiling\n")
    if "// die" in text:
        sys.stderr.write("fake scorer: told to die\n")
        os._exit(3)
    while "// mute" in text:
        time.sleep(60)
    time.sleep(number(text, "slow", 0.0) + number(text, "build", 0.0))
    if seconds := number(text, "time", 0.0):
        say(request, event="progress", phase="time", configuration="small", done=1, of=1, text="1.0 GFLOPS")
        time.sleep(seconds)


def score(request: dict) -> dict:
    text = text_of(request["source"])
    behave(request, text)
    wrong = "// wrong" in text and ("// wrong when patient" not in text or bool(request.get("patience_s")))
    wrong = wrong and ("// wrong later" not in text or text in SCORED)
    tflops = number(text, "speed" if text in SCORED else "at first", number(text, "speed", 1.0))
    SCORED.add(text)
    rows = [
        {
            "name": n,
            "correct": not wrong,
            "tflops": None if wrong else tflops,
            "tflops_std": None if wrong else 0.01,
            "latency_us": None if wrong else 1000.0 / tflops,
            "relative_error": 1e-6,
            "reason": "wrong" if wrong else "",
        }
        for n in names(request)
    ]
    return {
        "problem": "tiny",
        "correct": not wrong,
        "stage": "check" if wrong else "ok",
        "reason": "row 3 differs" if wrong else "",
        "device": "fake",
        "seconds": 0.0,
        "configurations": rows,
        "geomean_tflops": None if wrong else tflops,
        "suite": request.get("suite", "full"),
        "log": "compiling\n",
    }


def rounds(request: dict) -> dict:
    texts = [text_of(s) for s in request["sources"]]
    for text in texts[:1]:
        behave(request, text)
    columns = names(request)
    taken = []
    for index in range(request["first"], request["first"] + request["rounds"]):
        wobble = random.Random(index)
        latency = [[1000.0 / number(t, "speed", 1.0) * wobble.uniform(0.999, 1.001) for _ in columns] for t in texts]
        taken.append(
            {"order": list(range(len(texts))), "latency_us": latency, "failures": [None] * len(texts), "seconds": 0.01}
        )
    return {"rounds": taken, "configurations": columns, "integrity": {"tier": "fake", "calls": 4, "checks": []}}


def profile(request: dict) -> dict:
    behave(request, text_of(request["source"]))
    return {"text": "nothing to see", "facts": {"machine.cores": 2, "profile.vector_bits": 256}, "log": ""}


def baseline(request: dict) -> dict:
    rows = [
        {"name": n, "correct": True, "tflops": 3.0, "latency_us": 333.0}
        for n in names({**request, "configurations": None})
    ]
    return {
        "torch_sdpa": {
            "problem": "tiny",
            "correct": True,
            "stage": "ok",
            "reason": "",
            "device": "fake",
            "seconds": 0.0,
            "configurations": rows,
            "geomean_tflops": 3.0,
        }
    }


OPS = {
    "score": score,
    "rounds": rounds,
    "profile": profile,
    "baseline": baseline,
    "probe": lambda r: {"device": "fake"},
}


def main() -> None:
    for line in sys.stdin:
        request = json.loads(line)
        if request["op"] in OPS:
            say(request, event="result", result=OPS[request["op"]](request))
        else:
            say(request, event="error", error=f"no op {request['op']!r}")


if __name__ == "__main__":
    main()
