"""The lines around the panes: status and alerts above, keys and messages below."""

from __future__ import annotations

from collections.abc import Sequence

from avo_tui.keys import Key
from avo_tui.model import plan, show, status
from avo_tui.model.lines import EMPTY, Line, clip, join_fitting, spread, width_of
from avo_tui.model.snapshot import Snapshot
from avo_tui.widgets.painted import Painted, Painting


class StatusBar(Painted):
    """Two lines to the left: who and how well; how long, how much, at what cost."""

    snapshot: Snapshot | None = None
    _shown: object = None

    def show(self, snapshot: Snapshot) -> None:
        """Show a moment; what reads as before is not made again."""
        self.snapshot = snapshot
        said = self.said(snapshot)
        if said != self._shown:
            self._shown = said
            self.repaint()

    def said(self, s: Snapshot) -> tuple[object, ...]:
        """What the lines depend on. Ages are told in minutes, so the time counts in steps of five seconds."""
        return (show.elapsed(s.elapsed_s), int(s.taken_at // status.AGES_S), s.last_seq, s.at, s.state, s.trouble)

    def paint(self, width: int, height: int) -> list[Painting]:
        """Both lines."""
        if self.snapshot is None:
            return [(EMPTY, "")] * height
        lines = self.parts(self.snapshot, width)
        return [(lines[0], "bar"), (lines[1], "")][:height]

    def parts(self, snapshot: Snapshot, width: int) -> tuple[Line, Line]:
        """The first and the second line."""
        narrow = self.app.size.width < plan.MID
        return status.first_line(snapshot, width), status.second_line(snapshot, width, narrow=narrow)


class PulseBar(StatusBar):
    """The right ends of the same two lines: the heartbeat, and what is being done.

    A widget of its own, because what changes most often is then written alone.
    """

    def said(self, s: Snapshot) -> tuple[object, ...]:
        """What the lines depend on: the heartbeat's age counts in seconds."""
        past = s.at is not None and s.last_seq
        held = (s.state, s.activity, s.trouble, s.head, s.tier, s.lookers)
        return (status.heartbeat(s), past, self.avo.replaying(), *held)

    def parts(self, snapshot: Snapshot, width: int) -> tuple[Line, Line]:
        """The first and the second line."""
        pulse = status.health(snapshot, width, readonly=self.avo.readonly, replaying=self.avo.replaying())
        return pulse, status.doing(snapshot, width)


class AlertBar(Painted):
    """The gravest open alerts."""

    DEFAULT_CSS = "AlertBar { height: 1; }"
    snapshot: Snapshot | None = None
    _shown: object = None

    def show(self, snapshot: Snapshot) -> None:
        """Show a moment."""
        s, self.snapshot = snapshot, snapshot
        said = (s.alerts, s.at, s.state, s.trouble)
        if said != self._shown:
            self._shown = said
            self.repaint()

    def paint(self, width: int, height: int) -> list[Painting]:
        """As many alerts as there are lines."""
        if self.snapshot is None:
            return []
        offered = next((k.label for k in self.avo.keys if k.id == "acknowledge" and self.avo.offers(k)), "")
        lines = status.alert_lines(self.snapshot, width, height, key=offered)
        return [(line, "") for line in lines] + [(EMPTY, "")] * (height - len(lines))


WAY_OUT = "leave"


def _hint(key: Key) -> Line:
    return ((key.label, "key"), (" " + key.hint, "dim"))


class KeyBar(Painted):
    """The last line: keys that count here, and what was just said or done."""

    DEFAULT_CSS = "KeyBar { height: 1; }"
    keys: Sequence[Key] = ()
    message: Line = EMPTY

    def show(self, keys: Sequence[Key], message: Line) -> None:
        """Show these keys and this message."""
        self.keys, self.message = keys, message
        self.repaint()

    def paint(self, width: int, height: int) -> list[Painting]:
        """Keys to the left, the message to the right; the message has the right of way, and then the way back."""
        message = clip(self.message, width - 4)
        between = ("  ", "")
        room = width - width_of(message) - 4
        out = [_hint(k) for k in self.keys if k.id == WAY_OUT]
        others = [_hint(k) for k in self.keys if k.id != WAY_OUT]
        kept = join_fitting(others, between, room - sum(width_of(hint) + 2 for hint in out))
        left: Line = ((" ", ""), *join_fitting([kept, *out], between, room))
        return [(spread(left, (*message, (" ", "")) if message else EMPTY, width), "")]
