"""Long runs: prefix reuse, memory, the engine's own time, and faults in random order."""

from __future__ import annotations

import asyncio
import json
import os
import random
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from messages_server import Fault, MessagesServer, Reply, say, think, use
from messages_server.faults import status
from stage import Stage, calls, spent_as_billed

from engine.operators.agent.client import ModelClient
from engine.record.errors import OperatorError

HERE = Path(__file__).parent


class PatientClient(ModelClient):
    """Counts how long a call waited for the server: its duration without the processor time it took here."""

    waited_s = 0.0

    async def send(self, *arguments: Any, **named: Any) -> Any:
        wall, busy = time.monotonic(), time.process_time()
        try:
            return await super().send(*arguments, **named)
        finally:
            self.waited_s += (time.monotonic() - wall) - (time.process_time() - busy)


async def _work(tmp_path: Path, url: str, turns: int, window_tokens: int) -> dict[str, float]:
    """Take turns in this process; returns what they cost the engine."""
    stage = Stage(tmp_path, url, window_tokens=window_tokens)
    stage.tools["shell"].answer = lambda a: "output of the tool\n" * 60
    stage.agent.client = client = PatientClient(stage.config.model)
    busy: list[float] = []
    processor: list[float] = []
    grown_from = 0.0
    for turn in range(turns):
        if turn == min(100, turns // 3):
            grown_from = _resident_mb()
        client.waited_s, before, worked = 0.0, time.monotonic(), time.process_time()
        await stage.turn()
        processor.append((time.process_time() - worked) * 1e3)
        busy.append((time.monotonic() - before - client.waited_s) * 1e3)
    done = [c["n"] for c in stage.tools["shell"].done]
    assert done == list(range(len(done))) and len(done) >= turns - 40
    found = {
        "epochs": stage.agent.history.epoch,
        "median_ms": statistics.median(busy),
        "median_cpu_ms": statistics.median(processor),
        "p95_ms": sorted(busy)[int(len(busy) * 0.95)],
        "grown_mb": _resident_mb() - grown_from,
        "spent": sum(v for v in (stage.reader.spend().input_tokens, stage.reader.spend().output_tokens)),
    }
    await stage.close()
    return found


def _resident_mb() -> float:
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 1e6


def _run(tmp_path: Path, turns: int, window_tokens: int) -> tuple[dict[str, Any], dict[str, Any]]:
    """A server and an agent, each in its own process: (what the agent measured, what the server saw)."""
    environment = {**os.environ, "PYTHONPATH": f"{HERE}:{HERE.parent.parent}"}
    server = subprocess.Popen(
        [sys.executable, str(HERE / "test_agent_long.py"), "serve", str(window_tokens)],
        env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    try:
        assert server.stdout is not None
        url = server.stdout.readline().strip()
        arguments = ["work", str(tmp_path), url, str(turns), str(window_tokens)]
        agent = subprocess.run(
            [sys.executable, str(HERE / "test_agent_long.py"), *arguments],
            env=environment, capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert agent.returncode == 0, agent.stderr
        told, _ = server.communicate("stop\n", timeout=30)
    finally:
        server.kill()
        server.wait()
    return json.loads(agent.stdout), json.loads(told)


def _held(agent: dict[str, Any], server: dict[str, Any], *, median_ms: float) -> None:
    assert not server["rejected"], server["rejected"][:3]
    assert server["reuse"] >= 0.99
    assert server["cached"] >= 0.8
    assert agent["epochs"] >= 2
    assert agent["grown_mb"] < 50
    assert agent["median_ms"] < median_ms


def test_a_run_of_120_turns_reuses_its_prefix_and_stays_small(tmp_path: Path) -> None:
    _held(*_run(tmp_path, 120, 60_000), median_ms=200)  # the machine may be busy: the soak holds it to 20


@pytest.mark.soak
@pytest.mark.timeout(900)
def test_a_run_of_1000_turns_reuses_its_prefix_and_stays_small(tmp_path: Path) -> None:
    agent, server = _run(tmp_path, 1000, 200_000)
    print(agent, {k: v for k, v in server.items() if k != "rejected"})
    _held(agent, server, median_ms=20)


def _faults(seed: int) -> Iterator[Fault | None]:
    """Passing faults and good replies in random order."""
    dice = random.Random(seed)
    pool = [
        status(429, retry_after="0"),
        status(500),
        status(529),
        Fault("refuse"),
        Fault("html", 502),
        Fault("reset", after=3),
        Fault("cut", after=4),
        Fault("eof", after=5),
        Fault("error_event", after=2),
        Fault("empty"),
        Fault("bad_json", after=3),
        Fault("odd_event", message='{"type": "content_block_delta", "index": 0}', after=3),
        status(413, "too large"),
        status(400, "prompt is too long: 9 tokens > 8 maximum"),
    ]
    while True:
        fault = dice.choice(pool)
        yield (
            Fault(fault.kind, fault.status, fault.type, fault.message, fault.headers, dice.randrange(9))
            if fault.in_stream
            else fault
        )
        yield from [None] * dice.randrange(3)


def _replies(seed: int) -> Iterator[Reply]:
    """Good replies, and the odd ones that a model gives."""
    dice = random.Random(seed)
    for n in range(10_000):
        odd = dice.random()
        call = use("shell", n=n)
        if odd < 0.1:
            yield Reply([say("only words")])
        elif odd < 0.15:
            yield Reply([call, use("shell", n=-1)], "max_tokens", raw={1: '{"n": '})
        elif odd < 0.2:
            yield Reply([use("shell", n=-1)], raw={0: '{"n": oops'})
        elif odd < 0.25:
            yield Reply([], "refusal")
        elif odd < 0.3:
            yield Reply([say("wait")], "pause_turn")
        else:
            yield Reply([think("hm"), say("so"), call, use("evaluate", n=n)])


async def _survive(tmp_path: Path, seed: int, faults: int) -> None:
    with MessagesServer(_replies(seed)) as server:
        played = iter(_faults(seed))
        stage = Stage(tmp_path, server.url, idle_s=1.0)
        dice = random.Random(seed)
        while sum(bool(s.fault) for s in server.seen) < faults:
            server.faults.append(next(played))
            try:
                await stage.turn()
            except OperatorError as called:
                assert any(w in str(called) for w in ("in a row", "fresh conversation")), called
            if dice.random() < 0.05:
                await stage.reopen()
        server.faults.clear()
        before = len(stage.tools["shell"].done)
        await stage.until(lambda: len(stage.tools["shell"].done) >= before + 3, most=60)
        run = [c["n"] for c in stage.tools["shell"].done]
        assert len(run) == len(set(run)) and -1 not in run
        assert run == sorted(run)
        assert not server.rejected, server.rejected[:3]
        assert spent_as_billed(stage, server)
        await stage.close()


@pytest.mark.parametrize("seed", [0, *(pytest.param(seed, marks=pytest.mark.soak) for seed in (1, 2))])
async def test_random_sequences_of_faults_lose_and_repeat_nothing(seed: int, tmp_path: Path) -> None:
    await _survive(tmp_path, seed, 40)


@pytest.mark.soak
@pytest.mark.timeout(600)
@pytest.mark.parametrize("seed", range(10, 20))
async def test_random_sequences_of_200_faults_lose_and_repeat_nothing(seed: int, tmp_path: Path) -> None:
    await _survive(tmp_path, seed, 200)


def _serve(window_tokens: int) -> None:
    def replies() -> Iterator[Reply]:
        for n, reply in enumerate(
            calls(100_000, "shell", think("which next?"), say("this one, because of the profile"))
        ):
            yield Reply([*reply.content[:2], *(use("evaluate", n=n + i) for i in range(n % 3)), reply.content[2]])

    good = replies()

    def policy(body: dict[str, Any]) -> Reply:
        last = body["messages"][-1]["content"][-1]
        return Reply([say("the handoff")]) if "<handoff_request>" in last.get("text", "") else next(good)

    with MessagesServer(policy, window_tokens=window_tokens, keep=1) as server:
        print(server.url, flush=True)
        sys.stdin.readline()
        billed = server.billed
        total = billed["input_tokens"] + billed["cache_read_input_tokens"] + billed["cache_creation_input_tokens"]
        cached = billed["cache_read_input_tokens"] / max(1, total)
        print(
            json.dumps(
                {"rejected": server.rejected, "reuse": server.reuse(), "cached": cached, "requests": len(server.seen)}
            )
        )


if __name__ == "__main__":
    if sys.argv[1] == "serve":
        _serve(int(sys.argv[2]))
    else:
        path, url, turns, window = Path(sys.argv[2]), sys.argv[3], int(sys.argv[4]), int(sys.argv[5])
        print(json.dumps(asyncio.run(_work(path, url, turns, window))))
