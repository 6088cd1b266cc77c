"""Devices: several scorers of one machine, one for each device, behind what one host offers.

One rule: a comparison stays in one lane, on one device, from its first round to its last; only whole
evaluations are spread.
"""

from __future__ import annotations

import asyncio
import os
import re
from collections.abc import AsyncIterator, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import Protocol

from engine.host import Host, Slot
from engine.record.config import ScorerConfig
from engine.record.errors import ConfigError
from engine.scorer.problem import Problem


class Scorers(Protocol):
    """What the engine asks for scores: one host, several devices, or a cluster."""

    @property
    def width(self) -> int:
        """How many evaluations can run side by side."""
        ...

    def lane(self, *, first: bool = False) -> AbstractAsyncContextManager[Host]:
        """A host on one device, one's own until it is given back; waits until one is free.

        `first` asks for the first device, so that figures of different moments stay comparable.
        """
        ...

    async def close(self) -> None:
        """Stop every scorer; the devices are free. A later request starts them again."""
        ...


class Devices:
    """The devices of this machine. A lane's scorer is started when the lane is first used."""

    def __init__(self, hosts: Sequence[Host]) -> None:
        self._hosts = tuple(hosts)
        self._taken: set[Host] = set()
        self._freed = asyncio.Event()

    @property
    def width(self) -> int:
        """One evaluation a device."""
        return len(self._hosts)

    @asynccontextmanager
    async def lane(self, *, first: bool = False) -> AsyncIterator[Host]:
        """A free host, the first of them when asked for."""
        wanted = self._hosts[:1] if first else self._hosts
        while (host := next((h for h in wanted if h not in self._taken), None)) is None:
            self._freed.clear()
            await self._freed.wait()
        self._taken.add(host)
        try:
            yield host
        finally:
            self._taken.discard(host)
            self._freed.set()

    async def close(self) -> None:
        """Stop every scorer."""
        await asyncio.gather(*(host.close() for host in self._hosts))


def open_scorers(config: ScorerConfig, problem: Problem, folder: Path) -> Scorers:
    """What the configuration asks for. Raises ConfigError when it asks for two things at once, or for what is not."""
    if config.ray and (config.devices or config.spool):
        raise ConfigError("[scorer] ray excludes devices and spool; the cluster knows its devices itself")
    if config.devices and config.spool:
        raise ConfigError("[scorer] devices and spool exclude each other; start a scorer for each device over there")
    if config.ray:
        from engine.cluster import Cluster

        return Cluster(config, problem, folder)
    if config.devices:
        found = slots(config.devices, problem.device)
        return Devices([Host(config, problem.folder, folder, slot=slot) for slot in found])
    return Host(config, problem.folder, folder)


def slots(devices: Sequence[str], kind: str) -> list[Slot]:
    """A slot for each device: what CUDA_VISIBLE_DEVICES takes (an index, a UUID), or processors ("0-3,8")."""
    if len(set(devices)) != len(devices) or not all(isinstance(d, str) for d in devices):
        raise ConfigError(f"[scorer] devices = {list(devices)!r} must be different texts")
    made = [_slot(name, kind, number) for number, name in enumerate(devices)]
    cores = [c for slot in made for c in slot.processors]
    if twice := sorted({c for c in cores if cores.count(c) > 1}):
        raise ConfigError(f"[scorer] devices: processor {twice[0]} is in two of them; measurements would disturb")
    return made


def _slot(name: str, kind: str, number: int) -> Slot:
    file = "scorer" if number == 0 else f"scorer-{number}"
    if kind != "cpu":
        if not re.fullmatch(r"\d+|(GPU|MIG)-[\w./-]+", name):
            raise ConfigError(f"[scorer] devices: {name!r} is no CUDA device (an index, or a UUID of 'nvidia-smi -L')")
        return Slot(f"CUDA device {name}", {"CUDA_VISIBLE_DEVICES": name}, file=file)
    chosen = processors(name)
    if not chosen or not chosen <= os.sched_getaffinity(0):
        raise ConfigError(f"[scorer] devices: {name!r} names no processors of this machine ({_mine()}), such as '0-3'")
    return Slot(f"processors {name}", {}, frozenset(chosen), file)


def processors(text: str) -> set[int]:
    """The processors that "0-3,8" names; none when it is no such text."""
    found: set[int] = set()
    for part in text.split(","):
        match = re.fullmatch(r"\s*(\d{1,5})(?:-(\d{1,5}))?\s*", part)
        if match is None:
            return set()
        found.update(range(int(match[1]), int(match[2] or match[1]) + 1))
    return found


def _mine() -> str:
    cores = sorted(os.sched_getaffinity(0))
    return f"{cores[0]}-{cores[-1]}" if len(cores) == cores[-1] - cores[0] + 1 else ",".join(map(str, cores))
