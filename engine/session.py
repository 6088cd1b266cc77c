"""The session: everything an operator and its tools see of a run, and the only way they change it.

One rule: whatever is done through here is in the journal before it is answered. The engine
lends one Session to the operator for the whole life of the process.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Awaitable, Mapping, Sequence
from contextvars import ContextVar
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from engine.answers import (
    Directive,
    Evaluation,
    Exhausted,
    Interrupted,
    Profile,
    Pursuit,
    Submission,
    ToolResult,
    Variant,
)
from engine.live import TEXT_LIMIT, LiveText, cap
from engine.record import events as ev
from engine.record.config import RunConfig
from engine.record.errors import ConfigError, JournalError, Refused, RunNotFound, ScorerError, UsageError
from engine.record.journal import Journal
from engine.record.reader import Reader, Version
from engine.record.run import RunFolder

if TYPE_CHECKING:
    from engine.inbox import Inbox
    from engine.lineage import Lineage
    from engine.scorer.problem import Problem

__all__ = [
    "Directive",
    "Evaluation",
    "Exhausted",
    "Interrupted",
    "LiveText",
    "Profile",
    "Pursuit",
    "Session",
    "Submission",
    "Tool",
    "ToolResult",
    "Trials",
    "Variant",
    "cap",
]

T = TypeVar("T")
# The number of the call that a tool works for; calls that run side by side each see their own.
_CALL: ContextVar[int] = ContextVar("call", default=0)


class Tool(Protocol):
    """One tool: its JSON schema (an object, no additional properties) and what it does.

    `run` checks its own arguments and answers a wrong one with `ok=False` and a sentence. It is cancelled
    (asyncio) on an interrupt and must then leave no process behind.
    """

    name: str
    description: str
    schema: Mapping[str, Any]

    async def run(self, session: Session, arguments: Mapping[str, Any]) -> ToolResult:
        """Do it."""
        ...


class Trials(Protocol):
    """What the session asks of the engine (engine/trials.py): to score, judge, profile and restore sources."""

    @property
    def width(self) -> int:
        """How many evaluations can run side by side."""
        ...

    async def evaluate(self, suite: str, configurations: Sequence[str] | None, hypothesis: str) -> Evaluation:
        """Score the workspace; one attempt."""
        ...

    async def evaluate_all(
        self, suite: str, configurations: Sequence[str] | None, variants: Sequence[Variant]
    ) -> list[Evaluation | ScorerError]:
        """Score several candidates, as many side by side as there are devices; each is an attempt."""
        ...

    async def submit(self, message: str, hypothesis: str) -> Submission:
        """Judge the workspace against the incumbent, and commit it when it matches or improves."""
        ...

    async def profile(self, configurations: Sequence[str] | None) -> Profile:
        """Profile the workspace."""
        ...

    def restore(self, version: int) -> None:
        """Put a version's sources into the workspace; what lay there is kept under artifacts/."""
        ...


class Session:
    """The operator's view of the run.

    `lineage` is for reading: only submit and the person move it. `knowledge` is the run's knowledge base.
    """

    def __init__(
        self,
        folder: RunFolder,
        config: RunConfig,
        problem: Problem,
        journal: Journal,
        *,
        reader: Reader,
        lineage: Lineage,
        inbox: Inbox,
        tools: Mapping[str, Tool],
        knowledge: Any = None,
    ) -> None:
        self.folder = folder
        self.config = config
        self.problem = problem
        self.reader = reader
        self.lineage = lineage
        self.tools = tools
        self.knowledge = knowledge
        self.turn = 0
        self.activity = "starting"
        self.faults = 0
        self.pursuit = Pursuit("", "", _source(config.operator))
        self.trials: Trials | None = None
        self._journal = journal
        self._inbox = inbox
        self._calls = 0
        self._open: set[asyncio.Future[Any]] = set()
        self._interrupt = ""
        self._live = LiveText(journal)

    @property
    def workspace(self) -> Path:
        """Where the operator edits the candidate."""
        return self.folder.workspace

    @property
    def incumbent(self) -> Version | None:
        """The best active version."""
        return self.reader.incumbent()

    # --- what the operator says and does -------------------------------------------------

    async def call(self, tool: str, arguments: Mapping[str, Any], *, call: str = "") -> ToolResult:
        """Use a tool. Wrong names and arguments, and a failing scorer, are answers with `ok=False`."""
        self._calls += 1
        _CALL.set(self._calls)
        call = call or f"t{self.turn}.{self._calls}"
        self.record(ev.ToolStarted(call, tool, dict(arguments), self.turn))
        start = time.monotonic()
        try:
            result = await self.guard(self._run(tool, arguments))
        except Interrupted as stop:
            self.record(ev.ToolFinished(call, tool, False, f"interrupted: {stop}", time.monotonic() - start))
            raise
        except Exception as error:
            with contextlib.suppress(JournalError):  # then the journal's own error is what ends the turn
                words = f"the tool failed on its own account: {type(error).__name__}: {error}"
                self.record(ev.ToolFinished(call, tool, False, cap(words), time.monotonic() - start))
            raise
        finally:
            self._live.clear("output")
        result = self._capped(tool, result)
        self.record(ev.ToolFinished(call, tool, result.ok, result.text, time.monotonic() - start, result.log))
        return result

    def _capped(self, tool: str, result: ToolResult) -> ToolResult:
        """The result within the limit; what is cut lies whole in a log that `read` shows."""
        if len(result.text) <= TEXT_LIMIT:
            return result
        log = result.log
        if not log:
            path = self.artifact(f"{tool}.log")
            path.write_text(result.text, "utf-8", errors="replace")
            log = str(path.relative_to(self.folder.path))
        where = "" if log in result.text else f"\n(whole answer: {log})"
        return ToolResult(result.ok, cap(result.text, TEXT_LIMIT - 200) + where, result.data, log)

    async def _run(self, tool: str, arguments: Mapping[str, Any]) -> ToolResult:
        known = self.tools.get(tool)
        if known is None:
            return ToolResult(False, f"no tool {tool!r}; there are: {', '.join(self.tools)}")
        self.doing(f"{tool} {ev.summary_of(arguments, 80)}".rstrip())
        try:
            result = await known.run(self, arguments)
        except ScorerError as error:
            self.faults += 1
            return ToolResult(False, f"the scorer failed (not the candidate): {error}", {"infrastructure": True})
        except (Refused, UsageError, ConfigError, RunNotFound) as error:
            return ToolResult(False, str(error))
        if tool in {"evaluate", "submit", "profile"}:
            self.faults = 0
        return result

    def say(self, text: str, *, reasoning: bool = False) -> None:
        """The operator's words, for the transcript."""
        if text.strip():
            self.record(ev.Said(text, self.turn, reasoning))

    def stream(self, text: str) -> None:
        """Words in progress, the whole text so far; "" when done. Not history."""
        self._live.put("stream", text)

    def inbox(self) -> list[Directive]:
        """Directions from the person and the supervisor that were not taken yet; each is marked seen at this turn."""
        return self._inbox.take(self.turn)

    def answer(self, directive_id: str, *, obeyed: bool, words: str) -> None:
        """Say whether a direction is obeyed, or why not."""
        self._inbox.answer(directive_id, obeyed=obeyed, words=words, turn=self.turn)

    def offer(self, directions: Sequence[tuple[str, str, str]]) -> None:
        """Make directions known that could be pursued: (id, name, why). Those known already are left alone."""
        self._inbox.offer(directions, _source(self.config.operator))

    def pursue(self, direction_id: str, name: str, source: ev.Source, why: str) -> None:
        """Begin a direction. Attempts and versions carry it until the next one."""
        self.pursuit = Pursuit(direction_id, name, source, why)
        self.record(ev.DirectionChanged(direction_id, name, source, "pursued", why, self.turn))

    def conclude(self, state: str, why: str) -> None:
        """End the direction pursued without the gate's word: incorrect, regressed, skipped. Submit does it itself."""
        p = self.pursuit
        if p.id:
            self.record(ev.DirectionChanged(p.id, p.name, p.source, state, why, self.turn))

    def skip(self, direction_id: str, name: str, why: str) -> None:
        """A direction is not possible or not worth it here, and why."""
        source = _source(self.config.operator)
        self.record(ev.DirectionChanged(direction_id, name, source, "skipped", why, self.turn))

    @property
    def vetoed(self) -> frozenset[str]:
        """Ids of directions that the person forbids."""
        return self._inbox.vetoed

    @property
    def pinned(self) -> tuple[str, ...]:
        """Ids of directions that the person wants first, oldest pin first."""
        return self._inbox.pinned

    def facts(self) -> Mapping[str, Any]:
        """The machine's, the incumbent's profile's and the incumbent's score's facts, by flat names."""
        from engine.facts import of_incumbent

        return of_incumbent(self.reader, self.problem)

    # --- what tools need -----------------------------------------------------------------

    async def evaluate(
        self, suite: str = "quick", configurations: Sequence[str] | None = None, *, hypothesis: str = ""
    ) -> Evaluation:
        """Score the workspace now, as one attempt. Raises ScorerError when the scorer itself fails."""
        return await self._engine().evaluate(suite, configurations, hypothesis)

    async def evaluate_all(
        self, variants: Sequence[Variant], suite: str = "quick", configurations: Sequence[str] | None = None
    ) -> list[Evaluation | ScorerError]:
        """Score folders of the workspace side by side; the order is theirs, a scorer's failure stands in its place."""
        return await self._engine().evaluate_all(suite, configurations, variants)

    @property
    def width(self) -> int:
        """How many evaluations run side by side here: the devices that the run scores on."""
        return self._engine().width

    async def submit(self, message: str, hypothesis: str = "") -> Submission:
        """Have the gate judge the workspace; a commit leaves the workspace at the new incumbent."""
        return await self._engine().submit(message, hypothesis)

    async def profile(self, configurations: Sequence[str] | None = None) -> Profile:
        """Profile the workspace; journaled."""
        return await self._engine().profile(configurations)

    def restore(self, version: int) -> None:
        """Put a version's sources into the workspace."""
        self._engine().restore(version)

    def record(self, *facts: ev.Event) -> int:
        """Write facts to the journal in one transaction."""
        return self._journal.append(*facts)

    def output(self, text: str) -> None:
        """Append to what is shown of the call in progress (compiler, profiler, shell)."""
        self._live.extend("output", text)

    def doing(self, text: str) -> None:
        """Say in one line what happens now; the heartbeat carries it too."""
        self.activity = text
        self._live.put("activity", text)

    def artifact(self, name: str) -> Path:
        """A new file's path under artifacts/, its own even among calls that run side by side.

        `name` gives its ending, such as "shell.log".
        """
        folder = self.folder.artifacts / f"turn-{self.turn:05d}"
        folder.mkdir(parents=True, exist_ok=True)
        path, again = folder / f"{_CALL.get():03d}-{name}", 1
        while path.exists():
            again += 1
            path = folder / f"{_CALL.get():03d}-{again}-{name}"
        return path

    async def guard(self, work: Awaitable[T]) -> T:
        """Await something that an interrupt may cut short; raises Interrupted when it does."""
        task = asyncio.ensure_future(work)
        if self._interrupt:
            task.cancel()
        self._open.add(task)
        try:
            return await task
        except asyncio.CancelledError:
            if self._interrupt:
                raise Interrupted(self._interrupt) from None
            raise
        finally:
            self._open.discard(task)

    def hush(self) -> None:
        """What ran is over: nothing is shown of it any more."""
        self._live.clear("output")
        self._live.clear("stream")

    def flush(self) -> None:
        """Show what was held back of the live texts."""
        self._live.flush()

    # --- what the engine does with it ----------------------------------------------------

    def interrupt(self, reason: str) -> None:
        """Stop what runs now; every later call of this turn raises Interrupted too."""
        self._interrupt = reason
        for task in list(self._open):
            task.cancel()

    def begin_turn(self, turn: int) -> None:
        """A new turn; an interrupt of the one before is over."""
        self.turn, self._calls, self._interrupt = turn, 0, ""

    def _engine(self) -> Trials:
        assert self.trials is not None, "the engine lends its trials before the first turn"
        return self.trials


def _source(operator: str) -> ev.Source:
    known: dict[str, ev.Source] = {"agent": "agent", "external": "external"}
    return known.get(operator, "playbook")
