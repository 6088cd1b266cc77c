"""kill -9 at random moments: the conversation stays valid and nothing is done twice."""

from __future__ import annotations

import asyncio
import multiprocessing
import random
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from messages_server import MessagesServer, Reply, say, think, use
from stage import CountingTool, Stage

from engine.session import Session, ToolResult

HERE = Path(__file__).parent


class Diary(CountingTool):
    """Writes each call's number into a file, in two halves, so that a kill can fall between them."""

    def __init__(self, path: Path) -> None:
        super().__init__("shell")
        self.path = path

    async def run(self, session: Session, arguments: Mapping[str, Any]) -> ToolResult:
        with self.path.open("a") as file:
            print(arguments["n"], file=file, flush=True)
            await asyncio.sleep(0.002)
        return ToolResult(True, "written\n" * 20)


def _worker(path: Path, url: str) -> None:
    asyncio.run(_work(path, url))


async def _work(path: Path, url: str) -> None:
    """Work until killed."""
    stage = Stage(path, url, window_tokens=40_000)
    stage.session.tools["shell"] = Diary(path / "diary")  # type: ignore[index]
    stage.session.begin_turn(int(stage.reader.last_seq()))
    while True:
        await stage.turn()


def _replies() -> Iterator[Reply]:
    for n in range(0, 1_000_000, 3):
        yield Reply([think("next"), say("these three"), *(use("shell", n=n + i) for i in range(3))])


def _policy() -> Any:
    good = _replies()

    def answer(body: dict[str, Any]) -> Reply:
        last = body["messages"][-1]["content"][-1]
        return Reply([say("the handoff")]) if "<handoff_request>" in last.get("text", "") else next(good)

    return answer


def _survive(tmp_path: Path, kills: int, patch: pytest.MonkeyPatch) -> None:
    dice = random.Random(4)
    diary = tmp_path / "diary"
    patch.setenv("PYTHONPATH", f"{HERE}:{HERE.parent.parent}")
    # Each worker is a process of its own, forked by one that has loaded what all of them need.
    processes = multiprocessing.get_context("forkserver")
    processes.set_forkserver_preload([__name__])
    with MessagesServer(_policy(), window_tokens=40_000, keep=2) as server:
        for _ in range(kills + 1):
            seen, written = len(server.seen), _lines(diary)
            worker = processes.Process(target=_worker, args=(tmp_path, server.url))
            worker.start()
            try:
                deadline = time.monotonic() + 60
                while len(server.seen) < seen + 2 or _lines(diary) == written:
                    assert worker.exitcode is None, "the engine ended by itself"
                    assert time.monotonic() < deadline, "the run did not go on"
                    time.sleep(0.01)
                time.sleep(dice.random() * 0.15)
            finally:
                worker.kill()
                worker.join()
        assert not server.rejected, server.rejected[:3]
    done = [int(line) for line in diary.read_text().split()]
    assert len(done) == len(set(done)), "a tool call ran twice"
    assert done == sorted(done)


def _lines(path: Path) -> int:
    return len(path.read_text().split()) if path.exists() else 0


def test_after_kill_9_at_random_moments_the_history_is_valid_and_no_call_runs_twice(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _survive(tmp_path, 6, monkeypatch)


@pytest.mark.soak
@pytest.mark.timeout(900)
def test_after_100_times_kill_9_the_history_is_valid_and_no_call_runs_twice(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _survive(tmp_path, 100, monkeypatch)
