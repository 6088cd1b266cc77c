"""The scorer's client, against a real process that speaks the protocol."""

import asyncio
import json
import os
import sys
from pathlib import Path

import pytest

from engine.host import Host, kill_orphan
from engine.record.config import ScorerConfig
from engine.record.errors import ScorerError
from engine.record.liveness import Identity, process_alive

FAKE = Path(__file__).with_name("fake_scorer.py")


@pytest.fixture
def source(tmp_path):
    problem = tmp_path / "problem"
    problem.mkdir()
    (problem / "problem.toml").write_text(
        '[[configuration]]\nname = "a"\nquick = true\n[[configuration]]\nname = "b"\n'
    )
    folder = tmp_path / "candidate"
    folder.mkdir()

    def write(text):
        (folder / "attention.cpp").write_text(text)
        return folder

    return write


@pytest.fixture
async def host(tmp_path):
    made = Host(ScorerConfig(command=(sys.executable, str(FAKE))), tmp_path / "problem", tmp_path / "artifacts")
    yield made
    await made.close()


async def poll(what):
    async with asyncio.timeout(10):
        while not what():  # noqa: ASYNC110 another process is waited for
            await asyncio.sleep(0.01)


def environment_of(pid):
    return Path(f"/proc/{pid}/environ").read_bytes()


def left(tmp_path):
    return Identity(**json.loads((tmp_path / "artifacts" / "scorer.pid").read_text()))


async def test_one_process_answers_every_kind_of_request_and_tells_its_progress(host, source, tmp_path):
    seen = []
    score = await host.score(source("// speed: 2"), suite="quick", on_event=seen.append)
    assert (score.geomean_tflops, [c.name for c in score.configurations]) == (2.0, ["a"])
    first = left(tmp_path)
    rounds = await host.rounds([str(source("// speed: 2"))] * 2, rounds=3, first=4)
    assert len(rounds.rounds) == 3
    assert rounds.configurations == ("a", "b")
    assert (await host.profile(source(""))).facts["machine.cores"] == 2
    assert (await host.baseline())["torch_sdpa"].geomean_tflops == 3.0
    assert (await host.probe())["device"] == "fake"
    assert {e["event"] for e in seen} == {"progress", "output"}
    assert left(tmp_path) == first


async def test_requests_wait_for_each_other(host, source):
    scores = await asyncio.gather(*(host.score(source("// speed: 2")) for _ in range(4)))
    assert [s.geomean_tflops for s in scores] == [2.0] * 4


async def test_an_error_of_the_scorer_is_ours_and_it_answers_again(host, source):
    with pytest.raises(ScorerError, match="no op 'dance'"):
        await host._ask("dance", {}, None)
    assert (await host.score(source(""))).correct


async def test_a_scorer_that_dies_is_tried_once_more_and_then_named_with_its_last_words(host, source):
    with pytest.raises(ScorerError, match="ended during 'score': fake scorer: told to die"):
        await host.score(source("// die"))
    assert (await host.score(source(""))).correct


async def test_a_scorer_that_was_killed_between_requests_is_started_again(host, source, tmp_path):
    await host.score(source(""))
    os.kill(left(tmp_path).pid, 9)
    assert (await host.score(source("// speed: 3"))).geomean_tflops == 3.0


async def test_cancelling_a_request_ends_the_scorer_at_once_and_the_next_starts_afresh(host, source, tmp_path):
    seen = []
    task = asyncio.create_task(host.score(source("// mute"), on_event=seen.append))
    await poll(seen.__len__)
    first = left(tmp_path)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert (await host.score(source("// speed: 4"))).geomean_tflops == 4.0
    assert not process_alive(first)


async def test_a_silent_scorer_is_an_error_after_its_time(host, source):
    host.silence_s = 0.3
    with pytest.raises(ScorerError, match="silent for 0 s during 'score'"):
        await host.score(source("// mute"))


async def test_close_leaves_no_process_and_no_pid_file(host, source, tmp_path):
    await host.score(source(""))
    who = left(tmp_path)
    await host.close()
    assert not process_alive(who)
    assert not (tmp_path / "artifacts" / "scorer.pid").exists()
    assert not kill_orphan(tmp_path / "artifacts")


async def test_an_orphan_is_ended_and_a_reused_pid_is_left_alone(host, source, tmp_path):
    await host.score(source(""))
    who = left(tmp_path)
    path = tmp_path / "artifacts" / "scorer.pid"
    path.write_text(json.dumps({"pid": os.getpid(), "started": 1.0, "boot": who.boot, "host": who.host}))
    assert not kill_orphan(tmp_path / "artifacts")
    path.write_text(json.dumps({"pid": who.pid, "started": who.started, "boot": who.boot, "host": who.host}))
    assert kill_orphan(tmp_path / "artifacts")
    await poll(lambda: not process_alive(who))


async def test_a_command_that_does_not_exist_is_one_line(tmp_path):
    host = Host(ScorerConfig(command=("/nonexistent/scorer",)), tmp_path, tmp_path / "artifacts")
    with pytest.raises(ScorerError, match="cannot be started"):
        await host.probe()


async def test_a_scorer_that_talks_nonsense_is_named(tmp_path):
    host = Host(ScorerConfig(command=("/bin/cat",)), tmp_path, tmp_path / "artifacts")
    host.silence_s = 5.0
    talks = Host(ScorerConfig(command=("/bin/sh", "-c", "read line; echo hello; sleep 5")), tmp_path, tmp_path / "a2")
    with pytest.raises(ScorerError, match="not JSON"):
        await talks.probe()
    await talks.close()
    await host.close()


async def test_the_scorer_gets_no_credential(host, source, tmp_path, monkeypatch):
    monkeypatch.setenv("ANTHROPIC_API_KEY", "sk-planted")
    monkeypatch.setenv("HF_TOKEN", "planted")
    monkeypatch.setenv("OMP_NUM_THREADS", "2")
    await host.score(source(""))
    environment = environment_of(left(tmp_path).pid)
    assert b"planted" not in environment
    assert b"OMP_NUM_THREADS=2" in environment
