"""The cluster: evaluations on the nodes of a Ray cluster, with the device as the resource that Ray gives out.

One rule: a lane holds one device of one node until it is given back, so a comparison never changes hosts unnoticed;
what a lost node was doing is asked once more, elsewhere, and nothing else is lost.

Ray is an optional extra (`pip install 'avo-tui[ray]'`); this is the only module that imports it.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import engine
from engine.host import Host, OnEvent, ScorerDied
from engine.private import SECRET
from engine.record.config import ScorerConfig
from engine.record.errors import ScorerError
from engine.scorer.problem import Problem
from engine.scorer.remote import DIED, Remote
from engine.spool import letter_of

START_S, KNOCK_S = 120.0, 5.0


class Cluster:
    """The devices of a Ray cluster's living nodes. Connects when it is made; raises ScorerError when it cannot."""

    def __init__(self, config: ScorerConfig, problem: Problem, folder: Path) -> None:
        self._config, self._problem, self._folder = config, problem, folder
        self._ray = _connect(config.ray)
        self._needs = _needs(config, problem, self._ray)
        self._idle: list[Any] = []
        self._busy = self._starting = 0
        self._freed = asyncio.Event()

    @property
    def width(self) -> int:
        """How many evaluations the living nodes can take; at least one, which then waits for a node."""
        return max(1, sum(_fits(node["Resources"], self._needs) for node in self._ray.nodes() if node["Alive"]))

    @asynccontextmanager
    async def lane(self, *, first: bool = False) -> AsyncIterator[Host]:
        """A host on a device of some node. There is no first device here: every one is as good."""
        while self._busy >= self.width:
            self._freed.clear()
            await self._freed.wait()
        self._busy += 1
        away = Lane(self)
        try:
            yield Host(self._config, self._problem.folder, self._folder, away=away)
        finally:
            away.leave()
            self._busy -= 1
            self._freed.set()

    async def close(self) -> None:
        """Give every device back."""
        while self._idle:
            self.end(self._idle.pop())

    # --- what lanes need -----------------------------------------------------------------

    async def actor(self) -> tuple[Any, str]:
        """A scorer on a node and its place; an idle one, else a new one wherever Ray finds room."""
        while self._idle:
            actor = self._idle.pop()
            with contextlib.suppress(self._ray.exceptions.RayError):
                return actor, str(await actor.place.remote())
        made = self._ray.remote(Remote).options(**self._needs, max_restarts=0)
        actor = made.remote(list(self._config.command), SECRET.pattern)
        self._starting += 1
        try:
            return actor, str(await asyncio.wait_for(actor.place.remote(), START_S))
        except TimeoutError:
            self.end(actor)
            raise ScorerError(f"no node of the Ray cluster was free for {START_S:.0f} s; see 'ray status'") from None
        except self._ray.exceptions.RayError as error:
            self.end(actor)
            raise ScorerDied(f"a node of the Ray cluster failed before it began: {_line(error)}") from error
        except BaseException:
            self.end(actor)
            raise
        finally:
            self._starting -= 1

    def give_back(self, actor: Any) -> None:
        """Keep a scorer for the next lane, unless one waits for the device that it holds."""
        if self._starting:
            self.end(actor)
        else:
            self._idle.append(actor)

    def end(self, actor: Any) -> None:
        """End a scorer on its node, and what it runs."""
        with contextlib.suppress(self._ray.exceptions.RayError):
            self._ray.kill(actor)

    async def answer(self, actor: Any, letter: Mapping[str, Any], on_event: OnEvent | None, silence_s: float) -> Any:
        """The last message about a letter. Raises ScorerDied when its node or its scorer is lost."""
        messages = actor.ask.options(num_returns="streaming").remote(letter)
        try:
            while True:
                async with asyncio.timeout(silence_s):
                    message = await (await anext(messages))
                if message["event"] in ("result", "error", DIED):
                    return message
                if on_event is not None:
                    on_event(message)
        except TimeoutError:
            raise ScorerError(f"the scorer on the cluster was silent for {silence_s:.0f} s") from None
        except StopAsyncIteration as error:
            raise ScorerDied("the scorer on the cluster ended without an answer") from error
        except self._ray.exceptions.RayTaskError as error:
            raise ScorerError(f"the scorer on the cluster failed: {_line(error)}") from error
        except self._ray.exceptions.RayError as error:
            raise ScorerDied(f"a node of the Ray cluster was lost: {_line(error)}") from error


class Lane:
    """One lane's side of the cluster: takes a scorer with its first request, and another when that one is lost."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster
        self._actor: Any = None
        self.place = ""

    async def ask(self, op: str, fields: Mapping[str, Any], on_event: OnEvent | None) -> Mapping[str, Any]:
        """The result of one request. Raises ScorerDied when it was lost with its node."""
        letter = await asyncio.to_thread(letter_of, f"ray-{op}", op, fields)
        if self._actor is None:
            self._actor, self.place = await self._cluster.actor()
        silence_s = float(fields["build_timeout_s"]) + float(fields["call_timeout_s"]) + 120.0
        try:
            message = await self._cluster.answer(self._actor, letter, on_event, silence_s)
        except BaseException:
            self._cluster.end(self._actor)
            self._actor = None
            raise
        if message["event"] == "result":
            result: Mapping[str, Any] = message["result"]
            return result
        kind = ScorerDied if message["event"] == DIED else ScorerError
        raise kind(str(message.get("error") or "the scorer on the cluster failed"))

    def leave(self) -> None:
        """Give the device back."""
        if self._actor is not None:
            self._cluster.give_back(self._actor)
            self._actor = None


def _connect(address: str) -> Any:
    """Ray, connected. The engine's own package travels to the nodes, so that all score with the same code."""
    try:
        import ray
    except ImportError as error:
        raise ScorerError("[scorer] ray needs Ray: pip install 'avo-tui[ray]'") from error
    _reachable(address)
    package = str(Path(engine.__file__).resolve().parent)
    try:
        if not ray.is_initialized():
            ray.init(
                address=address,
                log_to_driver=False,
                logging_level=logging.ERROR,
                runtime_env={"py_modules": [package], "excludes": ["_shipped", "__pycache__"]},
            )
    except (ConnectionError, RuntimeError, ValueError, OSError) as error:
        raise ScorerError(f"no Ray cluster at {address!r}: {_line(error)}; 'ray start --head' starts one") from error
    return ray


def _reachable(address: str) -> None:
    """Knock before Ray does, which tries for minutes. Other forms of address than HOST:PORT are Ray's to judge."""
    host, _, port = address.rpartition(":")
    if not host or not port.isdecimal():
        return
    try:
        socket.create_connection((host.rpartition("/")[2].strip("[]"), int(port)), KNOCK_S).close()
    except (OSError, OverflowError) as error:
        raise ScorerError(f"no Ray cluster at {address!r}: {error}; is it right, and reachable from here?") from error


def _needs(config: ScorerConfig, problem: Problem, ray: Any) -> dict[str, Any]:
    """What one evaluation takes of a node: a GPU, or as many processors as a candidate may use."""
    if problem.device != "cpu":
        return {"num_gpus": 1, "num_cpus": 1}
    least = min((int(n["Resources"].get("CPU", 0)) or 1 for n in ray.nodes() if n["Alive"]), default=1)
    return {"num_gpus": 0, "num_cpus": config.threads or least}


def _fits(resources: Mapping[str, float], needs: Mapping[str, Any]) -> int:
    """How many evaluations a node has room for."""
    cpus = int(resources.get("CPU", 0)) // int(needs["num_cpus"])
    return min(int(resources.get("GPU", 0)), cpus) if needs["num_gpus"] else cpus


def _line(error: BaseException) -> str:
    lines = [line.strip() for line in str(error).strip().splitlines() if line.strip()]
    return (lines[0] if lines else type(error).__name__)[:200]
