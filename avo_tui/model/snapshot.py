"""Snapshot: one moment of a run as the room shows it, and the builder that reads it from the journal.

Every pane is a function of a Snapshot. `now` is the moment's own clock, so a replayed or
a tested moment looks exactly as the live one did.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, TypeVar

from engine.record import events as ev
from engine.record.commands import Command
from engine.record.config import RunConfig
from engine.record.liveness import engine_alive, run_state, silent_s
from engine.record.reader import Alert, Attempt, Direction, Engine, Entry, Intervention, Reader, Spend, Version
from engine.record.scores import Score

TAIL = 400
ATTEMPTS = 600
T = TypeVar("T")
_NO_SPEND = Spend(0.0, 0, 0, 0, 0, 0, 0)


@dataclass(frozen=True)
class Snapshot:
    """One moment of a run.

    `at` is None for the live moment, else the sequence number that is being looked at.
    `tail` holds the newest events, oldest first; `attempts` the newest attempts.
    """

    run: str
    problem: str
    operator: str
    now: float
    created_at: float
    seq: int = 0
    at: int | None = None
    state: str = "running"
    alive: bool = False
    heartbeat_age_s: float | None = None
    engine: Engine | None = None
    head: int | None = None
    versions: tuple[Version, ...] = ()
    attempts: tuple[Attempt, ...] = ()
    attempt_count: int = 0
    last_score: Score | None = None
    baselines: Mapping[str, Score] = field(default_factory=dict)
    alerts: tuple[Alert, ...] = ()
    interventions: tuple[Intervention, ...] = ()
    directions: tuple[Direction, ...] = ()
    commands: tuple[Command, ...] = ()
    spend: Spend = _NO_SPEND
    live: Mapping[str, tuple[float, str]] = field(default_factory=dict)
    plan: tuple[tuple[str, str, str], ...] = ()
    pages: tuple[tuple[str, int], ...] = ()
    notes: tuple[tuple[float, str], ...] = ()
    tail: tuple[Entry, ...] = ()
    config: RunConfig | None = None
    ended_at: float | None = None
    trouble: str = ""

    @cached_property
    def incumbent(self) -> Version | None:
        """The best active version: the head."""
        return self.version(self.head)

    @cached_property
    def active(self) -> tuple[Version, ...]:
        """The head and its ancestors, oldest first."""
        return tuple(v for v in self.versions if v.active)

    @cached_property
    def open_alerts(self) -> tuple[Alert, ...]:
        """Alerts that nobody closed, the gravest and then the newest first."""
        order = {"critical": 0, "warning": 1, "info": 2}
        return tuple(sorted((a for a in self.alerts if a.closed_at is None), key=lambda a: order.get(a.severity, 3)))

    @cached_property
    def baseline(self) -> tuple[str, float] | None:
        """The strongest baseline by geomean: (name, TFLOPS)."""
        known = [(s.geomean_tflops, name) for name, s in self.baselines.items() if s.geomean_tflops]
        return None if not known else (max(known)[1], max(known)[0])

    @cached_property
    def elapsed_s(self) -> float:
        """Seconds from the run's first moment to this one, or to its end."""
        return max((self.ended_at or self.now) - self.created_at, 0.0)

    def version(self, number: int | None) -> Version | None:
        """A version by its number."""
        if number is None:
            return None
        if 0 <= number < len(self.versions) and self.versions[number].version == number:
            return self.versions[number]
        return next((v for v in self.versions if v.version == number), None)

    def slot(self, name: str) -> str:
        """What a live slot holds; empty in the past."""
        return self.live.get(name, (0.0, ""))[1]


class Builder:
    """Reads snapshots of one run; keeps what did not change from one to the next.

    Belongs to one thread, like its Reader. `clock` is the time of the live moment.
    """

    def __init__(self, reader: Reader, config: RunConfig | None, clock: Callable[[], float] = time.time) -> None:
        self.reader = reader
        self.config = config
        self.clock = clock
        self._tail: deque[Entry] = deque(maxlen=TAIL)
        self._seq = 0
        self._kept: dict[str, Any] = {}
        self._created_at = float(reader.meta("created_at") or 0.0)
        self._run = reader.meta("run") or reader.path.parent.name

    def live(self) -> Snapshot:
        """The run as it is now."""
        fresh = self._take_new_events()
        r, keep, now = self.reader, self._keep, self.clock()
        engine = r.engine()
        state = run_state(engine, now) if engine else "starting"
        return Snapshot(
            run=self._run,
            problem=self.config.problem if self.config else "",
            operator=self.config.operator if self.config else "",
            config=self.config,
            now=now,
            created_at=self._created_at,
            seq=self._seq,
            state=state,
            alive=engine_alive(engine, now),
            heartbeat_age_s=silent_s(engine, now) if engine else None,
            engine=engine,
            head=r.head(),
            versions=keep("versions", fresh & {"version", "head"}, lambda: tuple(r.versions())),
            attempts=keep("attempts", fresh & {"attempt", "gate", "version"}, lambda: _attempts(r)),
            attempt_count=keep("count", fresh & {"attempt"}, lambda: r.counts()[1]),
            last_score=keep("last", fresh & {"attempt"}, lambda: _last_score(r)),
            baselines=keep("baselines", fresh & {"baseline"}, r.baselines),
            alerts=keep("alerts", fresh & {"alert", "alert_closed"}, lambda: tuple(r.alerts())),
            interventions=keep(
                "interventions", fresh & {"intervention", "intervention_judged"}, lambda: tuple(r.interventions())
            ),
            directions=keep("directions", fresh & {"direction"}, lambda: tuple(r.directions())),
            commands=tuple(r.commands()),
            spend=keep("spend", fresh & {"spent"}, r.spend),
            live=r.live(),
            plan=keep("plan", fresh & {"plan"}, lambda: plan_of(r)),
            pages=keep("pages", fresh & {"knowledge"}, lambda: pages_of(r)),
            notes=keep("notes", fresh & {"note"}, lambda: notes_of(r)),
            tail=keep("tail", fresh, lambda: tuple(self._tail)),
            ended_at=engine.heartbeat_at if engine and state in ("finished", "crashed") else None,
        )

    def _take_new_events(self) -> set[str]:
        """Bring the tail up to date; returns the kinds that came."""
        last = self.reader.last_seq()
        if last <= self._seq:
            return set()
        new = self.reader.tail(TAIL) if last - self._seq > TAIL else self.reader.events(self._seq)
        if new and new[0].seq > self._seq + 1:
            self._kept.clear()
        self._tail.extend(new)
        self._seq = new[-1].seq if new else last
        return {e.kind for e in new}

    def _keep(self, name: str, stale: set[str], read: Callable[[], T]) -> T:
        if stale or name not in self._kept:
            self._kept[name] = read()
        value: T = self._kept[name]
        return value


def _attempts(r: Reader) -> tuple[Attempt, ...]:
    return tuple(r.attempts(limit=ATTEMPTS))


def _last_score(r: Reader) -> Score | None:
    newest = r.attempts(limit=1)
    return r.attempt_score(newest[0].attempt) if newest else None


def plan_of(r: Reader, before: int | None = None) -> tuple[tuple[str, str, str], ...]:
    """The operator's plan, as of an event."""
    entries = r.tail(1, before=before, kinds=("plan",))
    plan = entries[0].event() if entries else None
    return plan.items if isinstance(plan, ev.PlanChanged) else ()


def pages_of(r: Reader, before: int | None = None) -> tuple[tuple[str, int], ...]:
    """Knowledge pages with how often they were read, the latest first (of the last 500 readings)."""
    counts: dict[str, int] = {}
    for entry in r.tail(500, before=before, kinds=("knowledge",)):
        event = entry.event()
        if isinstance(event, ev.KnowledgeRead):
            counts[event.page] = counts.pop(event.page, 0) + 1
    return tuple(reversed(counts.items()))


def notes_of(r: Reader, before: int | None = None) -> tuple[tuple[float, str], ...]:
    """The operator's notes, the latest first (at most 50)."""
    notes = [(e.at, e.event()) for e in r.tail(50, before=before, kinds=("note",))]
    return tuple((at, n.text) for at, n in reversed(notes) if isinstance(n, ev.Noted))
