"""The player: moves through a run's past at any speed. It knows times and events, not widgets.

The run's own pauses are shortened: never does one wait longer than a second and a half for the next event.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from engine.record.reader import Reader

SPEEDS = (1, 2, 5, 10, 30, 60, 120, 300, 600, 1800, 3600)
PATIENCE_S = 1.5


def speed_of(times: float) -> int:
    """A speed that the player knows: from 1 to an hour a second, whatever was asked for."""
    return round(min(max(times, SPEEDS[0]), SPEEDS[-1]))


@dataclass
class Player:
    """Where a replay stands. `position` is a time of the run (seconds since the epoch), `seq` the event shown."""

    reader: Callable[[], Reader]
    speed: int = 60
    playing: bool = False
    position: float = 0.0
    seq: int = 1

    def start(self, seq: int) -> None:
        """Play on from the moment of an event."""
        entry = self.reader().entry(max(seq, 1))
        self.seq, self.position = max(seq, 1), entry.at if entry else 0.0
        self.playing = True

    def advance(self, seconds: float) -> int | None:
        """Let real time pass; the event to show now, or None when the run's end was reached."""
        reader = self.reader()
        following = reader.events(self.seq, limit=1)
        if not following:
            self.playing = False
            return None
        soon = following[0].at - PATIENCE_S * self.speed
        self.position = max(self.position, soon) + seconds * self.speed
        # Clocks jump: an event never waits for a time that lies before the one that was shown.
        self.seq = max(reader.seq_at(self.position), self.seq)
        if following[0].at <= self.position:
            self.seq = max(self.seq, following[0].seq)
        return self.seq

    def faster(self, by: int) -> int:
        """The next speed up or down."""
        at = min(range(len(SPEEDS)), key=lambda i: abs(SPEEDS[i] - self.speed))
        self.speed = SPEEDS[max(0, min(at + by, len(SPEEDS) - 1))]
        return self.speed

    def label(self) -> str:
        """What the status line says."""
        return f"{'▶' if self.playing else '‖'} {self.speed}× #{self.seq}"
