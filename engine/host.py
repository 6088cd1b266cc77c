"""The host: the engine's client of one long-lived scorer process, one request at a time.

One rule: what the host cannot get an answer for is a ScorerError, never a candidate's failure. The
scorer runs in its own session, so that stopping it stops everything it started.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import sys
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import asdict, field
from pathlib import Path
from typing import Any, Protocol

from engine.gate import Round
from engine.private import without_secrets
from engine.record.config import ScorerConfig
from engine.record.errors import ScorerError
from engine.record.frozen import dataclass
from engine.record.liveness import Identity, identity, process_alive
from engine.record.scores import Integrity, Score
from engine.spool import Spool

OnEvent = Callable[[Mapping[str, Any]], None]
LINE_LIMIT = 64 * 1024 * 1024
STOP_S = 2.0


@dataclass(frozen=True, slots=True)
class Rounds:
    """Paired rounds as they were measured; `configurations` names the columns of every `latency_us`."""

    rounds: tuple[Round, ...]
    configurations: tuple[str, ...]
    integrity: Integrity


@dataclass(frozen=True, slots=True)
class Profiling:
    """A profile's text, its facts and its log."""

    text: str
    facts: Mapping[str, Any]
    log: str


class ScorerDied(ScorerError):
    """The scorer process ended in the middle of a request."""


@dataclass(frozen=True, slots=True)
class Slot:
    """One device of this machine: what names it to a scorer process. `file` is how the process's files begin."""

    name: str = ""
    environment: Mapping[str, str] = field(default_factory=dict)
    processors: frozenset[int] = frozenset()
    file: str = "scorer"


class Away(Protocol):
    """A scorer that is no process of ours: behind a spool, or on a node of a cluster."""

    @property
    def place(self) -> str:
        """Names the device that answers; another text is another device."""
        ...

    async def ask(self, op: str, fields: Mapping[str, Any], on_event: OnEvent | None) -> Mapping[str, Any]:
        """The result of one request. Raises ScorerDied when it may be asked once more."""
        ...


class Host:
    """Asks one scorer process; starts it when needed, and again after it died or was interrupted.

    With `away`, or a `spool` in its configuration, there is no process. `folder` receives scorer.log (its standard
    error) and scorer.pid (for the engine that comes after a crash), under the names that the slot gives them.
    """

    width = 1

    def __init__(
        self, config: ScorerConfig, problem: Path, folder: Path, *, slot: Slot | None = None, away: Away | None = None
    ) -> None:
        self._config, self._problem, self._folder = config, problem, folder
        self._slot = slot or Slot()
        self._process: asyncio.subprocess.Process | None = None
        if config.spool and away is None:
            away = Spool(Path(config.spool).expanduser().absolute())
        self._away = away
        self._stopping: set[asyncio.Task[None]] = set()
        self._lock = asyncio.Lock()
        self._requests = 0
        self.silence_s = config.build_timeout_s + config.call_timeout_s + 120.0

    # --- the four questions --------------------------------------------------------------

    async def score(
        self,
        source: Path,
        *,
        suite: str = "full",
        configurations: Sequence[str] | None = None,
        baselines: bool = False,
        then_baselines: bool = False,
        patience_s: float = 0.0,
        on_event: OnEvent | None = None,
    ) -> Score:
        """Build, check and time one candidate, for `patience_s` while its figures do not agree.

        `then_baselines`: `baseline` is asked next, and what it needs may come while the candidate is built.
        """
        fields = {"source": str(source), "suite": suite, "configurations": _list(configurations)}
        more = {"baselines": baselines, "then_baselines": then_baselines, "patience_s": patience_s}
        return Score.from_json(await self._ask("score", {**fields, **more}, on_event))

    async def rounds(
        self,
        sources: Sequence[str],
        *,
        rounds: int,
        first: int,
        configurations: Sequence[str] | None = None,
        on_event: OnEvent | None = None,
    ) -> Rounds:
        """Measure sources against each other, interleaved, every call checked, in fresh processes each round."""
        fields = {"sources": list(sources), "rounds": rounds, "first": first, "configurations": _list(configurations)}
        value = await self._ask("rounds", fields, on_event)
        integrity = Integrity(**{k: v for k, v in (value.get("integrity") or {}).items() if k in _INTEGRITY})
        measured = tuple(Round.from_json(r) for r in value["rounds"])
        return Rounds(measured, tuple(value["configurations"]), integrity)

    async def profile(
        self, source: Path, *, configurations: Sequence[str] | None = None, on_event: OnEvent | None = None
    ) -> Profiling:
        """Profile one candidate."""
        fields = {"source": str(source), "configurations": _list(configurations)}
        value = await self._ask("profile", fields, on_event)
        return Profiling(str(value["text"]), dict(value["facts"]), str(value.get("log", "")))

    async def baseline(self, *, patience_s: float = 0.0, on_event: OnEvent | None = None) -> dict[str, Score]:
        """Measure the problem's baselines on this machine, as patiently as a version."""
        value = await self._ask("baseline", {"names": None, "patience_s": patience_s}, on_event)
        return {name: Score.from_json(score) for name, score in value.items()}

    async def probe(self) -> Mapping[str, Any]:
        """What the scorer's machine is and can do."""
        return await self._ask("probe", {}, None)

    # --- its life ------------------------------------------------------------------------

    @property
    def place(self) -> str:
        """Which device answers; rounds of one comparison belong together only while it stays the same."""
        return self._away.place if self._away is not None else self._slot.name

    @asynccontextmanager
    async def lane(self, *, first: bool = False) -> AsyncIterator[Host]:
        """This host as the only lane there is (engine/devices.py has several); its requests wait for each other."""
        yield self

    async def start(self) -> None:
        """Start the scorer, when it does not run. One behind a spool is started by a person, on its own host."""
        if self._away is not None or (self._process is not None and self._process.returncode is None):
            return
        command = list(self._config.command) or [sys.executable, "-m", "engine.scorer", "--serve"]
        self._folder.mkdir(parents=True, exist_ok=True)
        with self._file("log").open("ab") as log:
            try:
                self._process = await asyncio.create_subprocess_exec(
                    *command,
                    stdin=asyncio.subprocess.PIPE,
                    stdout=asyncio.subprocess.PIPE,
                    stderr=log,
                    start_new_session=True,
                    limit=LINE_LIMIT,
                    env={**without_secrets(os.environ), **self._slot.environment},
                )
            except OSError as error:
                raise ScorerError(f"the scorer cannot be started ({command[0]}: {error.strerror})") from error
        if self._slot.processors:  # at once: the interpreter is still loading, and its threads inherit it
            with contextlib.suppress(ProcessLookupError):
                os.sched_setaffinity(self._process.pid, self._slot.processors)
        self._file("pid").write_text(json.dumps(asdict(identity(self._process.pid))), "utf-8")

    def interrupt(self) -> None:
        """Stop the scorer and everything it runs, now; the next request starts a fresh one."""
        process, self._process = self._process, None
        if process is not None:
            task = asyncio.get_running_loop().create_task(_stop(process))
            self._stopping.add(task)
            task.add_done_callback(self._stopping.discard)

    async def close(self) -> None:
        """Stop the scorer and wait until it is gone. A later request starts it again."""
        self.interrupt()
        await asyncio.gather(*self._stopping)
        self._file("pid").unlink(missing_ok=True)

    def _file(self, kind: str) -> Path:
        return self._folder / f"{self._slot.file}.{kind}"

    # --- asking --------------------------------------------------------------------------

    async def _ask(self, op: str, fields: Mapping[str, Any], on_event: OnEvent | None) -> Mapping[str, Any]:
        async with self._lock:
            try:
                return await self._ask_once(op, fields, on_event)
            except ScorerDied:
                return await self._ask_once(op, fields, on_event)

    async def _ask_once(self, op: str, fields: Mapping[str, Any], on_event: OnEvent | None) -> Mapping[str, Any]:
        if self._away is not None:
            return await self._away.ask(op, {**self._common(), **fields}, on_event)
        if self._stopping:
            await asyncio.gather(*self._stopping)
        await self.start()
        self._requests += 1
        request = {"id": f"r{self._requests}", "op": op, **self._common(), **fields}
        try:
            return await self._exchange(request, on_event)
        except BaseException:
            self.interrupt()
            raise

    def _common(self) -> dict[str, Any]:
        c = self._config
        return {
            "problem": str(self._problem),
            "threads": c.threads,
            "build_timeout_s": c.build_timeout_s,
            "call_timeout_s": c.call_timeout_s,
            "unsafe_no_sandbox": c.unsafe_no_sandbox,
        }

    async def _exchange(self, request: Mapping[str, Any], on_event: OnEvent | None) -> Mapping[str, Any]:
        process = self._process
        assert process is not None and process.stdin is not None and process.stdout is not None
        try:
            process.stdin.write(json.dumps(request).encode() + b"\n")
            await process.stdin.drain()
            while True:
                async with asyncio.timeout(self.silence_s):
                    line = await process.stdout.readline()
                if not line:
                    raise ScorerDied(f"the scorer ended during {request['op']!r}{self._last_words()}")
                if (answer := _read(line, request["id"], on_event)) is not None:
                    return answer
        except TimeoutError:
            raise ScorerError(f"the scorer was silent for {self.silence_s:.0f} s during {request['op']!r}") from None
        except (ConnectionError, BrokenPipeError) as error:
            raise ScorerDied(f"the scorer ended during {request['op']!r}{self._last_words()}") from error

    def _last_words(self) -> str:
        try:
            lines = self._file("log").read_bytes()[-4000:].decode("utf-8", "replace").strip().splitlines()
        except OSError:
            return ""
        return f": {lines[-1]}" if lines else ""


def _read(line: bytes, request: str, on_event: OnEvent | None) -> Mapping[str, Any] | None:
    """The result in one line of the scorer's, or None when it is about something else."""
    try:
        message = json.loads(line)
    except ValueError as error:
        raise ScorerError(f"the scorer wrote something that is not JSON: {line[:120]!r}") from error
    if not isinstance(message, dict) or message.get("id") != request:
        return None
    if message["event"] == "error":
        raise ScorerError(str(message.get("error", "unknown error")))
    if message["event"] == "result":
        result: Mapping[str, Any] = message["result"]
        return result
    if on_event is not None:
        on_event(message)
    return None


async def _stop(process: asyncio.subprocess.Process) -> None:
    """End a process group: asked first, so that the scorer ends its own children, then killed."""
    for sign in (signal.SIGTERM, signal.SIGKILL):
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, sign)
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(process.wait(), STOP_S)
            break
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process._transport.close()  # type: ignore[attr-defined]


def kill_orphan(folder: Path) -> bool:
    """After a crash: end the scorers that the last engine left behind. True when there was one."""
    ended = [_kill_left(path) for path in sorted(folder.glob("scorer*.pid"))]
    return any(ended)


def _kill_left(path: Path) -> bool:
    try:
        left = Identity(**json.loads(path.read_text("utf-8")))
    except (OSError, ValueError, TypeError):
        return False
    path.unlink(missing_ok=True)
    if not process_alive(left):
        return False
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(left.pid, signal.SIGKILL)
    return True


def _list(configurations: Sequence[str] | None) -> list[str] | None:
    return None if configurations is None else list(configurations)


_INTEGRITY = frozenset({"tier", "calls", "noise", "quiet", "unsafe"})
