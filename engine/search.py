"""The search: the variation loop of one run, and the one writer of its journal and lineage.

Between two turns of the operator lies a boundary: there, and only there, the run is steered, paused,
limited and supervised. Sources: paper, section 3 (the loop); DESIGN, sections 4 and 5.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import time
import traceback
from dataclasses import replace
from typing import Any

from engine import budget, intake, lessons, operators, resume, tools
from engine.budget import Stopwatch
from engine.devices import open_scorers
from engine.disk import DiskWatch
from engine.host import kill_orphan
from engine.housekeeping import Housekeeper, Tidied
from engine.inbox import Inbox
from engine.opening import open_journal, open_lineage, seed_files
from engine.record import events as ev
from engine.record import liveness
from engine.record.config import RunConfig
from engine.record.errors import AvoError, JournalError, LineageError, OperatorError, Refused, ScorerError
from engine.record.reader import Reader
from engine.record.run import LOGS_DROPPED, RunFolder
from engine.scorer import problem as problems
from engine.session import Exhausted, Interrupted, Session
from engine.steering import Steering
from engine.supervisor import Supervisor
from engine.trials import RunTrials

PULSE_S = 0.25
BEAT_S = 1.0
STILL_S = 5.0
FAULTS = 3
WARNINGS_READ = 200
SUBMIT_GRACE_S, SUBMIT_GRACE = 60.0, 0.1
ENGINE_CACHE_KIB = 2000  # an engine asks for little at a time, and stays small for weeks


class Finished(Exception):
    """The run ends here; the message is the reason."""


class Search:
    """One run, from its start or where the last engine left it, to its end."""

    def __init__(self, folder: RunFolder, config: RunConfig) -> None:
        self.folder, self.config = folder, config
        self.paused = False
        self.calling = False
        self.stop_reason = ""
        self.problem = problems.load(config.problem_path)
        self.journal = open_journal(folder)
        self.reader = Reader(folder.journal, cache_kib=ENGINE_CACHE_KIB)
        self.limits = budget.current(config.limits, self.reader.meta("limits"))
        self.watch = Stopwatch(float(self.reader.meta("elapsed_s") or 0.0))
        self.lineage = open_lineage(folder, self.reader)
        self.scorers = open_scorers(config.scorer, self.problem, folder.artifacts)
        self.inbox = Inbox(self.journal, self.reader)
        self.session = self._session()
        self.trials = RunTrials(self.session, self.scorers, self.lineage, self.reader)
        self.session.trials = self.trials
        self.steering = Steering(self.journal, self.reader, self.lineage, self.inbox, self)
        self.supervisor: Supervisor | None = None
        self.keeper = Housekeeper(folder, config.housekeeping)
        self.disk = DiskWatch(folder, config.housekeeping, self.journal, self.reader)
        self._me = liveness.identity()
        self._place = _identity(folder)
        self._faults, self._trouble = 0, ""
        self._baselines_asked = False
        self._operator: operators.Operator | None = None
        self._warned = {e.title for e in self.reader.tail(WARNINGS_READ, kinds=("warning",))}
        self._over_since: float | None = None

    # --- its life ------------------------------------------------------------------------

    async def run(self) -> None:
        """Work until a limit, a stop, or nothing is left to try. Raises AvoError when it cannot go on."""
        try:
            self._begin()
            async with asyncio.TaskGroup() as group:
                pulse = group.create_task(self._pulse())
                try:
                    reason = await self._work()
                finally:
                    pulse.cancel()
            await self._finish("finished", reason)
        except BaseExceptionGroup as group_error:
            await self._fail(error := _first(group_error))
            raise error from None
        except BaseException as error:
            await self._fail(error)
            raise
        finally:
            self._close()

    def signalled(self, name: str) -> None:
        """A signal asks to end: the first at the next boundary, the second now."""
        if self.stop_reason:
            self.interrupt(name)
        self.stop_reason = self.stop_reason or f"stopped by {name}"

    @property
    def state(self) -> ev.RunState:
        """What the heartbeat says."""
        if self.stop_reason:
            return "stopping"
        return "paused" if self.paused else "running"

    def _session(self) -> Session:
        from engine import knowledge

        return Session(
            self.folder,
            self.config,
            self.problem,
            self.journal,
            reader=self.reader,
            lineage=self.lineage,
            inbox=self.inbox,
            tools=tools.registry(),
            knowledge=knowledge.open_for(self.folder),
        )

    def _begin(self) -> None:
        """Take over from whoever had the run before, and say so."""
        again = bool(self.reader.events(kinds=("run_started",), limit=1))
        notes = ["an orphaned scorer was ended"] if kill_orphan(self.folder.artifacts) else []
        self._beat()
        candidates = self.folder.artifacts / "candidates"
        intake.sweep(candidates, self.folder.workspace)
        found = resume.reconcile(self.journal, self.reader, self.lineage, candidates)
        self.trials.refresh()
        self.paused = found.paused
        me, config = self._me, self.config
        model = config.model.name if config.operator == "agent" else ""
        note = "; ".join([*found.notes, *notes]) or ("everything was in order" if again else "")
        facts: list[ev.Event] = [
            ev.RunStarted(config.problem, config.operator, me.pid, me.host, model, again, note),
            ev.StateChanged(self.state, "it was paused when its engine ended" if found.paused else ""),
        ]
        self.journal.append(*facts)
        if config.from_version and not again:
            lessons.bequeath(config.from_version, self.folder)
        self.session.begin_turn(resume.last_turn(self.reader))

    async def _work(self) -> str:
        try:
            if self.reader.head() is None:
                await operators.ready(self.config.operator, self.config)
            await self._found()
            operator = self._operator = operators.create(self.config.operator, self.session)
            gc.freeze()  # what was made until now lives as long as the engine
            gc.enable()
            reviewer = getattr(operator, "review", None)
            self.supervisor = Supervisor(self.journal, self.reader, self.inbox, self.config.supervisor, reviewer)
            ignored: frozenset[str] = frozenset()
            while True:
                await self.boundary()
                self.session.begin_turn(self.session.turn + 1)
                try:
                    await self._turn(operator)
                except Exhausted as end:
                    self.steering.poll()
                    if self.inbox.open <= ignored:
                        return f"nothing left to try: {end}"
                    ignored = self.inbox.open  # somebody just said what to try; one more turn to take it up
        except Finished as end:
            await self._last_word()
            return str(end)

    async def _last_word(self) -> None:
        """At a limit, judge what was measured faster and had no time to be submitted. A stop waits for nothing."""
        used = budget.usage(self.reader, self.watch.elapsed_s)
        full = replace(self.limits, minutes=None, usd=None, tokens=None)
        if self.stop_reason or self.config.operator == "playbook" or budget.reached(full, used):
            return
        self.session.begin_turn(self.session.turn)
        try:
            await tools.stop_jobs(self.session.tools)
            await self.session.guard(self.trials.last_word())
        except (Refused, ScorerError, Interrupted) as why:
            self.journal.append(ev.Warned(f"the last candidate could not be judged: {_line(why)}"))

    async def _found(self) -> None:
        """Version 0 and the baselines, when the run has none yet."""
        while self.reader.head() is None:
            await self._between()
            try:
                await self.session.guard(self._plant())
            except Interrupted:
                self.session.begin_turn(self.session.turn)
        if not intake.holds_sources(self.folder.workspace):
            self.trials.restore(self.incumbent())
        while not (self._baselines_asked or self.reader.baselines()):
            await self._between()
            try:
                await self.session.guard(self._measure_baselines())
            except Interrupted:
                self.session.begin_turn(self.session.turn)
        self.session.hush()

    async def _plant(self) -> None:
        files, message = seed_files(self.config, self.problem.seed)
        planted = await self.trials.seed(files, message, self._measure_baselines)
        if not isinstance(planted, ev.VersionCommitted):
            raise Refused(
                f"the seed of {self.problem.name} is not correct ({planted.stage}: {planted.reason}); mend it first"
            )
        self.trials.restore(0)

    async def _measure_baselines(self) -> None:
        """What versions are compared with, when the run has none yet. Without it, a run goes on."""
        if not self.reader.baselines():
            self.session.doing("measuring the baselines")
            try:
                async with self.scorers.lane(first=True) as host:
                    scores = await host.baseline(patience_s=self.trials.patience_s, on_event=self.trials.on_event)
                self.journal.append(*(ev.BaselineMeasured(name, score) for name, score in scores.items()))
            except ScorerError as error:
                self.journal.append(ev.Warned(f"the baselines could not be measured: {error}"))
        self._baselines_asked = True

    async def _turn(self, operator: operators.Operator) -> None:
        """One turn. What goes wrong in an operator calls the person after three times, and ends nothing."""
        try:
            await self.session.guard(operator.turn(self.session))
            self._faults = 0
        except Interrupted:
            self.session.doing("interrupted")
        except (Exhausted, JournalError, LineageError):
            raise
        except OperatorError as error:
            if not self.reader.events(kinds=("spent",), limit=1):
                raise  # it never worked: a wrong key or model, which no waiting mends
            self._faults, self._trouble = FAULTS, f"the operator cannot work: {error}"
        except (AvoError, ArithmeticError, LookupError, TypeError, ValueError, AttributeError, OSError) as error:
            traceback.print_exc()
            self._faults, self._trouble = self._faults + 1, f"the operator failed {FAULTS} times in a row"
            self.journal.append(ev.Warned(f"the operator failed in turn {self.session.turn}: {_line(error)}"))

    # --- the boundary --------------------------------------------------------------------

    async def boundary(self) -> None:
        """Commands, pause, stop, faults, limits and the supervisor, in this order. Returns when a turn may begin."""
        assert self.supervisor is not None
        while True:
            await self._between()
            self._check_faults()
            self._refill()
            if not self.paused and (step := await self.supervisor.look(self.watch.elapsed_s)):
                self.paused = self.calling = step.level == "pause"
                if step.level == "restore":
                    self.trials.restore(self.incumbent())
            if not self.paused:
                return

    def _refill(self) -> None:
        """A workspace that somebody deleted comes back with the incumbent's sources."""
        if not self.folder.workspace.is_dir():
            self.trials.restore(self.incumbent())
            self.journal.append(ev.Warned(f"workspace/ was gone; it is back with the sources of v{self.incumbent()}"))

    async def _between(self) -> None:
        """Commands, housekeeping, pause, stop and limits."""
        self.steering.boundary()
        await self._keep_house()
        if self.paused and not self.stop_reason:
            await self._hold()
        if self.stop_reason:
            raise Finished(self.stop_reason)
        self._check_limits()
        self.watch.go()
        self.trials.seconds_left = 60 * budget.minutes_left(self.limits, self.watch.elapsed_s)

    async def _hold(self) -> None:
        """Stay paused with the machine free, until a person says otherwise.

        A person's pause costs no time. While the engine itself calls the person the clock goes on, so that a
        run that nobody watches still ends at its limit.
        """
        if not self.calling:
            self.watch.hold()
        self.session.doing("paused")
        await self._free()
        while self.paused and not self.stop_reason:
            await asyncio.sleep(PULSE_S)
            self.steering.boundary()
            if told := self.disk.look(paused=self.paused, at_once=not self.paused):
                self.paused = told == "pause"
            if self.calling:
                self._check_limits()
        self.calling = False
        self.session.faults = self._faults = 0

    async def _keep_house(self) -> None:
        """Quotas, compression, room on the disk. Nothing is measured between two turns."""
        if self.disk.look(paused=self.paused) == "pause":
            self.paused = True
        if self.keeper.due():
            self._tidied(await asyncio.to_thread(self.keeper.tidy))

    def _tidied(self, done: Tidied) -> None:
        if done.dropped_before is not None:
            self.journal.set_meta(LOGS_DROPPED, repr(done.dropped_before))
        if done.notes:
            self.journal.append(*(ev.Warned(note) for note in done.notes))

    def _check_limits(self) -> None:
        used = budget.usage(self.reader, self.watch.elapsed_s)
        if reason := budget.reached(self.limits, used):
            raise Finished(reason)
        for text in budget.warnings(self.limits, used):
            if text not in self._warned:
                self._warned.add(text)
                self.journal.append(ev.Warned(text))

    def _check_faults(self) -> None:
        """Pause and call the person when the scorer or the operator keeps failing."""
        if self.session.faults < FAULTS and self._faults < FAULTS:
            return
        if self.session.faults >= FAULTS:
            what, name, kind = "scorer", f"the scorer failed {FAULTS} times in a row", "tool_finished"
        else:
            what, name, kind = "operator", self._trouble, "warning"
        last = self.reader.tail(1, kinds=(kind,))
        alerts = self.reader.alerts()
        number = alerts[0].alert + 1 if alerts else 1
        self.journal.append(
            ev.AlertRaised(number, "critical", what, name, last[-1].title if last else ""),
            ev.StateChanged("paused", name),
        )
        self.paused = self.calling = True

    # --- what steering asks --------------------------------------------------------------

    def interrupt(self, reason: str) -> None:
        """Stop what runs now."""
        self.session.interrupt(reason)

    def moved(self, version: int) -> None:
        """The head was moved: the workspace follows, and a new variation step begins."""
        self.trials.restore(version)
        self.trials.next_step(version)

    def incumbent(self) -> int:
        """The head's number."""
        head = self.reader.head()
        assert head is not None, "the seed is committed before anything else"
        return head

    # --- signs of life -------------------------------------------------------------------

    async def _pulse(self) -> None:
        """Every quarter of a second: commands and the clock. Every second: a heartbeat."""
        beats, last = 0, time.monotonic()
        while True:
            last = self._stood_still(last)
            self.steering.poll()
            self._watch_time()
            if beats % round(BEAT_S / PULSE_S) == 0:
                if _identity(self.folder) not in (self._place, _UNKNOWN):
                    raise JournalError(f"{self.folder.path} was removed or replaced under its engine, which ends")
                self._beat()
                if not self.paused and self.disk.short():
                    self.interrupt("the disk is nearly full")
                self.session.flush()
            beats += 1
            await asyncio.sleep(PULSE_S)

    def _stood_still(self, last: float) -> float:
        """The time now. Since the pulse before, seconds too many: the engine was stopped, and that is not its time."""
        now = time.monotonic()
        if (gap := now - last) > STILL_S:
            self.watch.give_back(gap)
            self.journal.append(ev.Warned(f"the engine was stopped from outside for {gap:.0f} s; not counted"))
        return now

    def _watch_time(self) -> None:
        """At the time limit, or at a stop past it, end the turn; a submission gets a tenth of the limit more, at most
        a minute, to come to its verdict."""
        if self.paused or budget.minutes_left(self.limits, self.watch.elapsed_s) > 0:
            self._over_since = None
            return
        now = self.watch.elapsed_s
        self._over_since = now if self._over_since is None else self._over_since
        grace = min(SUBMIT_GRACE_S, SUBMIT_GRACE * 60 * (self.limits.minutes or 0.0))
        if not self.trials.submitting or now - self._over_since > grace:
            self.interrupt("the time limit is reached")

    def _beat(self) -> None:
        me, doing = self._me, self.session.activity
        self.journal.beat(
            pid=me.pid,
            started=me.started,
            boot=me.boot,
            host=me.host,
            state=self.state,
            activity=doing,
            elapsed_s=self.watch.elapsed_s,
        )

    async def _finish(self, state: ev.RunState, reason: str) -> None:
        self.watch.hold()
        await self._leave()
        self.session.doing("")
        self._beat()
        self._learn()
        self._tidied(await asyncio.to_thread(self.keeper.tidy, everything=True))
        self.journal.append(ev.StateChanged(state, reason))

    def _learn(self) -> None:
        """Leave the run's lessons where later runs find them; that they cannot be written stops nothing."""
        try:
            lessons.write(self.folder)
        except (AvoError, OSError) as error:
            self.journal.append(ev.Warned(f"the lessons of this run could not be written: {_line(error)}"))

    async def _fail(self, error: BaseException) -> None:
        """Say why the engine ends, when that can still be written."""
        await self._leave()
        state: ev.RunState = "finished" if isinstance(error, (Refused, OperatorError)) else "crashed"
        with contextlib.suppress(JournalError):  # a full disk: __main__ says the error that ended us
            self.journal.append(ev.StateChanged(state, _line(error)))

    async def _leave(self) -> None:
        """Let the operator put its things in order, then free the machine."""
        operator, self._operator = self._operator, None
        if (close := getattr(operator, "close", None)) is not None:
            await close()
        await self._free()

    async def _free(self) -> None:
        """End the scorer and every background job: the machine is the person's again."""
        await tools.stop_jobs(self.session.tools)
        await self.scorers.close()

    def _close(self) -> None:
        self.reader.close()
        self.journal.close()


_UNKNOWN = (-1, -1)


def _identity(folder: RunFolder) -> tuple[int, int] | None:
    """Which folder lies at this path. Another one is not ours to write to, whoever put it there."""
    try:
        found = folder.path.stat()
    except FileNotFoundError:
        return None
    except OSError:  # a mount that does not answer for a moment is no other folder
        return _UNKNOWN
    return found.st_dev, found.st_ino


def _first(group: BaseExceptionGroup[Any]) -> BaseException:
    error: BaseException = group
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error


def _line(error: BaseException) -> str:
    text = str(error).strip().splitlines()
    if isinstance(error, AvoError) and text:
        return text[0]
    return f"{type(error).__name__}: {text[0] if text else ''}".rstrip(": ")
