"""The scorer's process: one answer per request, nothing left behind, whoever ends it and however."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

import pytest
from served import SMALL, Scorer, descendants

HEAD = 'extern "C" void attention_forward(const float*, const float*, const float*, float*, int, int, int, int, int, int, float)'
HONEST = Path(__file__).parent / "honest" / "naive.cpp"


@pytest.fixture
def own(cache: Path):
    """A scorer of this test's own, which may be killed."""
    served = Scorer({"AVO_CACHE": str(cache)})
    yield served
    served.close()


@pytest.fixture(scope="module")
def lasting(cache: Path):
    """A scorer of this file's, which outlives what is done to it."""
    served = Scorer({"AVO_CACHE": str(cache)})
    yield served
    served.close()


def until(condition, seconds: float = 10.0) -> bool:
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.02)
    return True


def hanging(own: Scorer, candidate) -> list[int]:
    """Send a candidate that hangs; returns its processes once it runs."""
    own.score(HONEST)  # the sandbox is chosen and torch is there
    hangs = candidate(HEAD + " { for (volatile long i = 0;; ++i) {} }\n")
    own.send(id="hangs", op="score", source=hangs, problem=SMALL, suite="quick")
    assert until(lambda: any("check" in own.next().get("phase", "") for _ in range(1)))
    assert until(lambda: len(descendants(own.process.pid)) > 0)
    return descendants(own.process.pid)


def all_gone(pids: list[int]) -> bool:
    return not any(Path(f"/proc/{pid}").exists() and "Z" not in state(pid) for pid in pids)


def state(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return "Z"


def test_a_cancel_ends_the_work_at_once_and_the_next_request_is_served(lasting: Scorer, candidate):
    workers = hanging(lasting, candidate)
    begin = time.monotonic()
    lasting.send(op="cancel", id="hangs")
    while (event := lasting.next())["event"] not in ("error", "result"):
        pass
    assert (event["event"], event["error"]) == ("error", "cancelled")
    assert time.monotonic() - begin < 5
    assert until(lambda: all_gone(workers))
    assert lasting.score(HONEST)["correct"]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL, signal.SIGHUP])
def test_a_scorer_that_is_killed_leaves_no_worker(own: Scorer, candidate, number: signal.Signals):
    workers = hanging(own, candidate)
    os.kill(own.process.pid, number)
    assert until(lambda: all_gone(workers))
    own.process.wait(10)


def test_a_scorer_whose_input_ends_answers_what_it_read_and_leaves(own: Scorer):
    own.send(op="score", source=HONEST, problem=SMALL, suite="quick")
    assert own.process.stdin is not None
    own.process.stdin.close()
    while (event := own.next())["event"] != "result":
        pass
    assert event["result"]["correct"]
    assert own.process.wait(10) == 0


def test_lines_that_are_no_requests_are_answered_as_errors(lasting: Scorer):
    assert lasting.process.stdin is not None
    lasting.process.stdin.write("not json\n[1, 2]\n\n")
    lasting.process.stdin.flush()
    assert [lasting.next()["event"] for _ in range(2)] == ["error", "error"]


def test_the_probe_names_the_sandbox_and_every_attack_it_held_off(lasting: Scorer):
    found = lasting.ask(op="probe")
    assert found["sandbox"]["tier"] in ("bwrap+seccomp", "landlock+seccomp")
    assert len(found["sandbox"]["probes"]) >= 12
    assert all(p["passed"] for p in found["sandbox"]["probes"])
    assert found["threads"] >= 1 and found["compiler"] and found["device"]


def test_without_a_sandbox_every_score_says_so(lasting: Scorer):
    score = lasting.score(HONEST, unsafe_no_sandbox=True)
    assert score["correct"]
    assert score["integrity"]["unsafe"] is True
    assert score["integrity"]["tier"] == "none"
    assert "sandbox" in [c["name"] for c in score["integrity"]["checks"] if not c["passed"]]
    assert lasting.score(HONEST)["integrity"]["unsafe"] is False
