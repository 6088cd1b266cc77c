"""Moment: the run as it was at one event. Time travel and replay look through it.

Built from the same journal as the live moment: what came later is left out, and what was
changed later (a closed alert, a judged intervention) is shown as it stood.
"""

from __future__ import annotations

from dataclasses import fields, replace
from typing import Any

from avo_tui.model.snapshot import ATTEMPTS, TAIL, Snapshot, notes_of, pages_of, plan_of
from avo_tui.summary import Summary
from engine.record import events as ev
from engine.record.commands import Command
from engine.record.reader import Alert, Attempt, Reader, Version
from engine.record.scores import Score

SITTINGS = 200  # that are looked at: how often a run's engine was started


def moment(reader: Reader, now: Summary, seq: int) -> Snapshot:
    """The run right after event `seq` (the nearest earlier event that exists), given where it stands `now`."""
    before = seq + 1
    tail = tuple(reader.tail(TAIL, before=before))
    at = tail[-1].at if tail else now.created_at
    head = _head(reader, before)
    versions = _versions(now.versions, seq, head)
    tries = _attempts(reader, before)
    alerts = tuple(_alert_then(a, at) for a in reader.alerts() if a.at <= at)
    kept = {f.name: getattr(now, f.name) for f in fields(now)}
    then: dict[str, Any] = {
        "state": _state(reader, before),
        "engine_alive": True,
        "heartbeat_age_s": None,
        "activity": "",
        "elapsed_s": _worked_s(reader, before, at - now.created_at),
        "incumbent": next((v for v in versions if v.version == head), None),
        "versions": versions,
        "attempts": tries[-1].attempt if tries else 0,
        "baselines": _baselines(reader, before),
        "last": reader.attempt_score(tries[-1].attempt) if tries else None,
        "alerts": tuple(a for a in alerts if a.closed_at is None),
        "spend": reader.spend_before(before),
        "last_seq": tail[-1].seq if tail else 0,
        "taken_at": at,
    }
    return Snapshot(
        **{**kept, **then},
        at=seq,
        tries=tries,
        all_alerts=alerts,
        interventions=tuple(reader.interventions_before(before)),
        directions=tuple(reader.directions_before(before)),
        commands=tuple(_command_then(c, at) for c in reader.commands() if c.at <= at),
        plan=plan_of(reader, before),
        pages=pages_of(reader, before),
        notes=notes_of(reader, before),
        tail=tail,
    )


def _worked_s(reader: Reader, before: int, since_start_s: float) -> float:
    """Seconds since the start, less what lay between a sitting's last event and the start of the next one."""
    between = 0.0
    for start in reader.tail(SITTINGS, before=before, kinds=("run_started",)):
        between += sum(start.at - last.at for last in reader.tail(1, before=start.seq))
    return max(since_start_s - between, 0.0)


def _state(reader: Reader, before: int) -> str:
    entries = reader.tail(1, before=before, kinds=("state",))
    event = entries[0].event() if entries else None
    return event.state if isinstance(event, ev.StateChanged) else "running"


def _head(reader: Reader, before: int) -> int | None:
    entries = reader.tail(1, before=before, kinds=("version", "head"))
    event = entries[0].event() if entries else None
    if isinstance(event, ev.VersionCommitted):
        return event.version
    return event.after if isinstance(event, ev.HeadMoved) else None


def _versions(versions: tuple[Version, ...], seq: int, head: int | None) -> tuple[Version, ...]:
    known = {v.version: v for v in versions if v.seq <= seq}
    line: set[int] = set()
    while head is not None and head in known and head not in line:
        line.add(head)
        head = known[head].parent
    return tuple(v if v.active == (n in line) else replace(v, active=n in line) for n, v in known.items())


def _attempts(reader: Reader, before: int) -> tuple[Attempt, ...]:
    entries = reader.tail(1, before=before, kinds=("attempt",))
    event = entries[0].event() if entries else None
    if not isinstance(event, ev.AttemptScored):
        return ()
    attempts = reader.attempts(before=event.attempt + 1, limit=ATTEMPTS)
    judged = {e.attempt for e in (x.event() for x in reader.tail(3, before=before, kinds=("gate", "version")))
              if isinstance(e, ev.GateDecided | ev.VersionCommitted)}  # fmt: skip
    if attempts and attempts[-1].attempt not in judged:
        attempts[-1] = replace(attempts[-1], verdict=None, ratio=None, low=None, high=None, version=None)
    return tuple(attempts)


def _baselines(reader: Reader, before: int) -> dict[str, Score]:
    events = (e.event() for e in reader.tail(100, before=before, kinds=("baseline",)))
    return {e.name: e.score for e in events if isinstance(e, ev.BaselineMeasured)}


def _alert_then(alert: Alert, at: float) -> Alert:
    later = alert.closed_at is not None and alert.closed_at > at
    return replace(alert, closed_at=None, closed_by=None, closed_reason=None) if later else alert


def _command_then(command: Command, at: float) -> Command:
    return replace(command, state="sent", state_at=command.at, reason="") if command.state_at > at else command
