"""The disk: room where the run lies. An alert before trouble, a pause before the journal cannot be written.

One rule: the run never waits for a person when only room is missing: it goes on by itself once there is some.
"""

from __future__ import annotations

import shutil
import time
from typing import Literal

from engine.record import events as ev
from engine.record.config import Housekeeping
from engine.record.journal import Journal
from engine.record.reader import Reader
from engine.record.run import RunFolder

MB = 1_000_000
LOOK_S = 1.0
WHAT = "disk"
NEARLY_FULL = "the disk is nearly full"
# A run that paused goes on with so much more than what it paused at, so that it does not flap.
MARGIN = 1.25


class DiskWatch:
    """Looks once a second, and says so in the journal when something changed."""

    def __init__(self, run: RunFolder, rule: Housekeeping, journal: Journal, reader: Reader) -> None:
        self._run, self._rule, self._journal, self._reader = run, rule, journal, reader
        self._next = 0.0

    def look(self, *, paused: bool, at_once: bool = False) -> Literal["pause", "go on", ""]:
        """What the run must do now. Between two looks, and while nothing changes, "" ."""
        if time.monotonic() < self._next and not at_once:
            return ""
        self._next = time.monotonic() + LOOK_S
        free = self.free_mb()
        open_alert = next((a for a in self._reader.alerts(open_only=True) if a.what == WHAT), None)
        severity = open_alert.severity if open_alert else ""
        if free < self._rule.free_pause_mb:
            why = f"{NEARLY_FULL}: {free:,.0f} MB are free"
            pausing = [] if paused else [ev.StateChanged("paused", why)]
            if severity != "critical":
                self._alert(open_alert.alert if open_alert else None, "critical", why, *pausing)
            elif pausing:
                self._journal.append(*pausing)  # somebody resumed it too early
            return "pause" if pausing else ""
        if severity == "critical" and open_alert and free >= MARGIN * self._rule.free_pause_mb:
            running = (
                [ev.StateChanged("running", "there is room on the disk again")] if paused and self._paused() else []
            )
            self._journal.append(ev.AlertClosed(open_alert.alert, "engine", "there is room again"), *running)
            return "go on" if running else ""
        if free < self._rule.free_warn_mb and not severity:
            self._alert(None, "warning", f"the disk fills: {free:,.0f} MB are free")
        elif severity == "warning" and open_alert and free >= MARGIN * self._rule.free_warn_mb:
            self._journal.append(ev.AlertClosed(open_alert.alert, "engine", "there is room again"))
        return ""

    def _paused(self) -> bool:
        """Whether it was the disk that paused the run, and not a person."""
        last = self._reader.tail(1, kinds=("state",))
        fact = last[-1].event() if last else None
        return isinstance(fact, ev.StateChanged) and fact.reason.startswith(NEARLY_FULL)

    def short(self) -> bool:
        """Whether so little is free that a turn must be cut short."""
        return self.free_mb() < self._rule.free_pause_mb

    def free_mb(self) -> float:
        """Room where the run lies."""
        return shutil.disk_usage(self._run.path).free / MB

    def _alert(self, before: int | None, severity: ev.Severity, name: str, *more: ev.Event) -> None:
        alerts = self._reader.alerts()
        number = alerts[0].alert + 1 if alerts else 1
        closed = [] if before is None else [ev.AlertClosed(before, "engine", "it got worse")]
        rule = self._rule
        evidence = (
            f"{self._run.path}: below {rule.free_pause_mb:g} MB the run pauses, and goes on when there is room again; "
            "free some, or lower housekeeping.free_pause_mb in config.toml and resume"
        )
        self._journal.append(*closed, ev.AlertRaised(number, severity, WHAT, name, evidence), *more)
