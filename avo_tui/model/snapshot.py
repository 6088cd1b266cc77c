"""Snapshot: one moment of a run as the room shows it, and the builder that reads it from the journal.

Every pane is a function of a Snapshot. `taken_at` is the moment's own clock, so a replayed
or a tested moment looks exactly as the live one did. Where the run stands is the Summary's
business (avo_tui/summary.py); what is added here is what only the room shows.
"""

from __future__ import annotations

import os
import time
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import field, fields
from functools import cached_property
from typing import Any, TypeVar

from avo_tui.model.host import Load
from avo_tui.presence import Looker, lookers, names
from avo_tui.summary import Summaries, Summary
from engine.record import events as ev
from engine.record.commands import Command
from engine.record.frozen import dataclass
from engine.record.reader import Alert, Attempt, Direction, Engine, Entry, Intervention, Reader, Version
from engine.record.run import RunFolder

LOOK_S = 2.0  # between two looks at who looks
TAIL = 400
ATTEMPTS = 600
T = TypeVar("T")


@dataclass(frozen=True)
class Snapshot(Summary):
    """One moment of a run.

    `at` is None for the live moment, else the sequence number that is being looked at.
    `tries` holds the newest attempts, `tail` the newest events, both oldest first.
    """

    at: int | None = None
    engine: Engine | None = None
    tries: tuple[Attempt, ...] = ()
    all_alerts: tuple[Alert, ...] = ()
    interventions: tuple[Intervention, ...] = ()
    directions: tuple[Direction, ...] = ()
    commands: tuple[Command, ...] = ()
    live: Mapping[str, tuple[float, str]] = field(default_factory=dict)
    plan: tuple[tuple[str, str, str], ...] = ()
    pages: tuple[tuple[str, int], ...] = ()
    notes: tuple[tuple[float, str], ...] = ()
    tail: tuple[Entry, ...] = ()
    load: Load | None = None
    here: bool = True
    lookers: tuple[Looker, ...] = ()
    trouble: str = ""

    @property
    def head(self) -> int | None:
        """The incumbent's number."""
        return self.incumbent.version if self.incumbent else None

    @cached_property
    def active(self) -> tuple[Version, ...]:
        """The head and its ancestors, oldest first."""
        return tuple(v for v in self.versions if v.active)

    @cached_property
    def open_alerts(self) -> tuple[Alert, ...]:
        """Open alerts, the gravest and then the newest first."""
        order = {"critical": 0, "warning": 1, "info": 2}
        return tuple(sorted(self.alerts, key=lambda a: order.get(a.severity, 3)))

    @cached_property
    def rival(self) -> str | None:
        """The strongest baseline by geomean."""
        known = [(score.geomean_tflops, name) for name, score in self.baselines.items() if score.geomean_tflops]
        return max(known)[1] if known else None

    @property
    def ended_at(self) -> float | None:
        """When the engine last gave a sign of life, once it no longer does."""
        return self.engine.heartbeat_at if self.engine and self.state in ("finished", "crashed") else None

    @cached_property
    def company(self) -> tuple[str, ...]:
        """Who else looks at the run now, by name."""
        return tuple(names(one for one in self.lookers if not one.here))

    def version(self, number: int | None) -> Version | None:
        """A version by its number."""
        return next((v for v in self.versions if v.version == number), None)

    def slot(self, name: str) -> str:
        """What a live slot holds; empty in the past."""
        return self.live.get(name, (0.0, ""))[1]


class Builder:
    """Reads snapshots of one run; keeps what did not change from one to the next.

    Belongs to one thread, like its Reader. `clock` is the time of the live moment.
    """

    def __init__(self, folder: RunFolder, clock: Callable[[], float] = time.time) -> None:
        self._summaries = Summaries(folder)
        self.reader = self._summaries.reader
        self.clock = clock
        self._tail: deque[Entry] = deque(maxlen=TAIL)
        self._seq = 0
        self._kept: dict[str, Any] = {}
        self._run = folder.path
        self._lookers: tuple[Looker, ...] = ()
        self._lookers_due = 0.0

    def close(self) -> None:
        """Close the journal."""
        self._summaries.close()

    def there(self) -> bool:
        """Whether the journal still is the file that was opened."""
        return self._summaries.there()

    def summary(self) -> Summary:
        """Where the run stands now."""
        return self._summaries.take(self.clock())

    def live(self) -> Snapshot:
        """The run as it is now."""
        fresh = self._take_new_events()
        r, keep = self.reader, self._keep
        engine = r.engine()
        summary = {f.name: getattr(s, f.name) for s in [self.summary()] for f in fields(s)}
        if engine is None:
            summary["state"] = "starting"
        return Snapshot(
            **summary,
            engine=engine,
            here=engine is None or engine.host == os.uname().nodename,
            lookers=self.viewers(),
            tries=keep("tries", fresh & {"attempt", "gate", "version"}, lambda: tuple(r.attempts(limit=ATTEMPTS))),
            all_alerts=keep("alerts", fresh & {"alert", "alert_closed"}, lambda: tuple(r.alerts())),
            interventions=keep(
                "interventions", fresh & {"intervention", "intervention_judged"}, lambda: tuple(r.interventions())
            ),
            directions=keep("directions", fresh & {"direction"}, lambda: tuple(r.directions())),
            commands=tuple(r.commands()),
            live=r.live(),
            plan=keep("plan", fresh & {"plan"}, lambda: plan_of(r)),
            pages=keep("pages", fresh & {"knowledge"}, lambda: pages_of(r)),
            notes=keep("notes", fresh & {"note"}, lambda: notes_of(r)),
            tail=keep("tail", fresh, lambda: tuple(self._tail)),
        )

    def viewers(self) -> tuple[Looker, ...]:
        """Who looks at the run now."""
        if (now := time.monotonic()) >= self._lookers_due:
            self._lookers, self._lookers_due = lookers(self._run), now + LOOK_S
        return self._lookers

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
