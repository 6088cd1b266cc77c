"""Shell commands as jobs: each under a warden, its output in a file, none left behind on any way out.

The command sees neither the engine's environment nor, through the sandbox, anything but its workspace, which it may
not fill without end.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

from engine.record.errors import Refused
from engine.scorer.sandbox import overfull
from engine.scorer.text import clean

FILE_LIMIT_BYTES = 256 * 1024 * 1024
SHOWN_BYTES = 16_000
KEPT_BYTES = 8 * 1024 * 1024
MOST_JOBS = 8
STOP_S = 15.0
POLL_S = 0.1
LOOK_S = 2.0
_WARDEN = Path(__file__).with_name("warden.py")


@dataclass(frozen=True, slots=True)
class Launch:
    """How a command is started: as the sandbox wrapped it."""

    argv: Sequence[str]
    env: Mapping[str, str]
    pass_fds: tuple[int, ...]
    cwd: Path


@dataclass(slots=True)
class Job:
    """One running or ended command. `status` is None while it runs; `log` holds what it printed.

    `full` says why its workspace is too large, "" when it is not.
    """

    id: str
    command: str
    log: Path
    process: asyncio.subprocess.Process
    started: float = field(default_factory=time.monotonic)
    ended: float | None = None
    full: str = ""
    guard: asyncio.Task[None] | None = None

    @property
    def status(self) -> int | None:
        """The exit status (128 + n for signal n), or None while it runs."""
        return self.process.returncode

    @property
    def seconds(self) -> float:
        """How long it has run, or ran."""
        return (self.ended or time.monotonic()) - self.started

    async def wait(self, timeout_s: float, on_output: Callable[[str], None]) -> bool:
        """Wait for the end, handing over what is printed meanwhile. False when the time was up first."""
        end = time.monotonic() + timeout_s
        with self.log.open("rb") as log:
            while True:
                left = end - time.monotonic()
                done = await _within(self.process, min(POLL_S, max(left, 0.0)))
                _hand_over(log, on_output)
                if done:
                    self.ended = self.ended or time.monotonic()
                    return True
                if left <= 0:
                    return False

    async def kill(self) -> None:
        """End the command and everything that it started; returns when all are gone."""
        if self.guard is not None and self.guard is not asyncio.current_task():
            self.guard.cancel()
        if self.process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                self.process.terminate()
            if not await _within(self.process, STOP_S):
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(self.process.pid, signal.SIGKILL)
                await self.process.wait()
        self.ended = self.ended or time.monotonic()


class Jobs:
    """The jobs of one run."""

    def __init__(self) -> None:
        self._jobs: dict[str, Job] = {}
        self._number = 0

    async def start(self, launch: Launch, command: str, log: Path) -> Job:
        """Start a command. Refused when too many run already."""
        if len(self.running()) >= MOST_JOBS:
            raise Refused(f"{MOST_JOBS} jobs are running already; wait for one or kill one ('job')")
        self._number += 1
        warden = [sys.executable, "-I", "-S", str(_WARDEN), str(os.getpid()), str(FILE_LIMIT_BYTES)]
        with log.open("ab") as out:
            process = await asyncio.create_subprocess_exec(
                *warden,
                *launch.argv,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=out,
                stderr=out,
                env=dict(launch.env),
                cwd=launch.cwd,
                pass_fds=launch.pass_fds,
                start_new_session=True,
            )
        job = Job(f"j{self._number}", command, log, process)
        job.guard = asyncio.create_task(_guard(job, launch.cwd))
        self._jobs[job.id] = job
        return job

    def get(self, id: str) -> Job:
        """A job by its id."""
        if id not in self._jobs:
            raise Refused(f"no job {id!r}; there are: {', '.join(self._jobs) or 'none'}")
        return self._jobs[id]

    def running(self) -> list[Job]:
        """Jobs that have not ended."""
        return [j for j in self._jobs.values() if j.status is None]

    def forget(self, job: Job) -> None:
        """Drop a job that nobody will ask for again."""
        self._jobs.pop(job.id, None)

    async def stop(self) -> None:
        """End every running job."""
        await asyncio.gather(*(j.kill() for j in self.running()))


async def _guard(job: Job, workspace: Path) -> None:
    """End a job that fills the workspace. One that finds it full already may go on: it may be there to clear it."""
    job.full = await _full(workspace)
    full_before = bool(job.full)
    while not await _within(job.process, LOOK_S):
        job.full = await _full(workspace)
        if job.full and not full_before:
            await job.kill()
            return


async def _full(workspace: Path) -> str:
    found = await asyncio.to_thread(overfull, workspace)
    return found or ""


async def _within(process: asyncio.subprocess.Process, seconds: float) -> bool:
    """Whether the process ended within a time."""
    try:
        await asyncio.wait_for(process.wait(), seconds)
    except TimeoutError:
        return False
    return True


def _hand_over(log: IO[bytes], on_output: Callable[[str], None]) -> None:
    """Pass on what was printed since the last time; of a flood only the newest part."""
    waiting = os.fstat(log.fileno()).st_size - log.tell()
    if waiting > SHOWN_BYTES:
        log.seek(-SHOWN_BYTES, os.SEEK_END)
    if data := log.read(SHOWN_BYTES):
        on_output(clean(data))


def printed(log: Path, limit: int = SHOWN_BYTES) -> str:
    """What a job printed: all of it, or head and tail with what is left out counted."""
    with log.open("rb") as file:
        size = os.fstat(file.fileno()).st_size
        if size <= limit:
            return clean(file.read())
        head = file.read(limit // 3)
        file.seek(-(limit - limit // 3), os.SEEK_END)
        tail = file.read()
    return f"{clean(head)}\n… {size - limit:,} bytes left out; the log has them …\n{clean(tail)}"


def shorten(log: Path) -> None:
    """Cut an ended job's huge log to its head and tail, so that a flood does not stay on the disk."""
    size = log.stat().st_size
    if size <= KEPT_BYTES:
        return
    with log.open("r+b") as file:
        file.seek(size - KEPT_BYTES // 2)
        tail = file.read()
        file.seek(KEPT_BYTES // 2)
        file.write(f"\n… {size - KEPT_BYTES:,} bytes were not kept …\n".encode() + tail)
        file.truncate()
