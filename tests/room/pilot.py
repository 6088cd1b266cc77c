"""Driving the room in the test's own process, through Textual's pilot."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

from textual.pilot import Pilot

from avo_tui.app import AvoApp
from avo_tui.screens.room import Room
from engine.record.commands import Command
from engine.record.reader import Reader
from engine.record.run import RunFolder
from tests.room import scripted, stage


@asynccontextmanager
async def open_room(
    run: RunFolder, size: tuple[int, int] = (120, 40), **options: Any
) -> AsyncIterator[tuple[AvoApp, Pilot[int]]]:
    """The room on a run at the story's end, fed by its real feed."""
    stage.adopt(run.path)
    now = scripted.end_of(run)
    app = AvoApp(run, clock=options.pop("clock", lambda: now), **options)
    async with app.run_test(size=size) as pilot:
        await pilot.pause()
        yield app, pilot


def room_of(app: AvoApp) -> Room:
    """The room's screen, below any dialog."""
    return next(s for s in app.screen_stack if isinstance(s, Room))


async def until(pilot: Pilot[int], true: Callable[[], object], seconds: float = 10.0) -> None:
    """Wait for something to become true."""
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline, f"not true within {seconds} s; the screen is {pilot.app.screen!r}"
        await pilot.pause(0.02)


async def typed(pilot: Pilot[int], text: str) -> None:
    """Type letters."""
    names = {" ": "space", "/": "slash", ".": "full_stop", "-": "minus", "_": "underscore", ":": "colon", "+": "plus"}
    await pilot.press(*(names.get(c, c) for c in text))


def commands(run: RunFolder) -> list[Command]:
    """Every command in the journal that the story did not write."""
    with Reader(run.journal) as reader:
        return [c for c in reader.commands() if c.person != "ada"]


def answer(run: RunFolder, *facts: Any) -> None:
    """Write facts as the engine would."""
    from engine.record.journal import Journal

    with Journal.open(run.journal) as journal:
        journal.append(*facts)
