"""Acting: the capital letters. Mixed into screens from which the run can be steered."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, cast

from textual import events
from textual.screen import Screen
from textual.worker import Worker

from avo_tui.keys import Key
from avo_tui.model import show, steering
from avo_tui.model.lines import Line, clip_text, one_line
from avo_tui.widgets.painted import Painted
from engine.record.reader import Version

if TYPE_CHECKING:
    from avo_tui.app import AvoApp


class Acting(Screen[None]):
    """What every screen of the room shares."""

    BLANK = True  # below its widgets is nothing to see, which need not be drawn line by line

    @property
    def avo(self) -> AvoApp:
        """The app."""
        return cast("AvoApp", self.app)

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """A read-only room has no capital letters."""
        acts = {k.action for k in self.avo.keys if k.acts}
        return not (self.avo.readonly and action in acts)

    def on_key(self, event: events.Key) -> None:
        """Say why a capital letter did nothing."""
        if self.avo.readonly and any(k.acts and event.key in k.keys.split(",") for k in self.avo.keys):
            self.avo.may_act()

    def on_screen_resume(self) -> None:
        """Nothing lies above any more: show what was left out meanwhile."""
        show = getattr(self, "show_moment", None)
        if show is not None and self.is_mounted:
            show(self.avo.snapshot)

    def on_worker_state_changed(self, event: Worker.StateChanged) -> None:
        """What failed in the background is said; nothing vanishes."""
        self.avo.on_worker_state_changed(event)

    @property
    def table(self) -> Sequence[Key]:
        """The keys that count here."""
        return self.avo.keys

    def steerable(self) -> bool:
        """Whether an engine may still be told something: not in the past, nor after the end."""
        s = self.avo.snapshot
        return s.at is None and s.state not in ("finished", "crashed")

    # What the screen has under its cursor.

    def chosen_version(self) -> int | None:
        """The selected version."""
        return None

    def chosen_alert(self) -> int | None:
        """The selected alert."""
        return None

    def chosen_direction(self) -> str | None:
        """The selected direction."""
        return None

    # Actions.

    def action_pause(self) -> None:
        """Pause at the next boundary, or resume."""
        if self.avo.may_act():
            self.avo.command("resume" if self.avo.snapshot.state == "paused" else "pause")

    def action_wake(self) -> None:
        """Wait no longer."""
        if not self.avo.may_act():
            return
        if idle := steering.nothing_to_do(self.avo.snapshot, "wake"):
            self.avo.say(f"{idle}; nothing to cut short", "warn")
        else:
            self.avo.command("resume")

    def action_halt(self) -> None:
        """Interrupt what runs now, then pause."""
        if self.avo.may_act():
            self.avo.command("interrupt")

    def action_direct(self) -> None:
        """Write a direction."""
        if not self.avo.may_act():
            return
        from avo_tui.screens.direct import Direct

        s = self.avo.snapshot
        earlier = [str(c.arguments.get("text", "")) for c in reversed(s.commands) if c.verb == "direct"]
        about: Line = ((f"{s.operator or 'the operator'} sees it at its next turn, obeys it or says why not", "dim"),)
        self.app.push_screen(Direct(self.avo.draft, earlier, about), self._send_direction)

    def _send_direction(self, text: str | None) -> None:
        if text:
            self.avo.draft = ""
            self.avo.command("direct", {"text": text})

    def action_rollback(self) -> None:
        """Choose and confirm a roll-back."""
        self.rollback_to(self.chosen_version())

    def rollback_to(self, number: int | None) -> None:
        """Confirm a roll-back to a version; to the one before the head when none is named."""
        if not self.avo.may_act():
            return
        from avo_tui.screens.rollback import Rollback, targets

        s = self.avo.snapshot
        choices = targets(s)
        if not choices:
            self.avo.say("there is no older version to roll back to", "warn")
            return
        wanted = s.version(number)
        if wanted is not None and not wanted.active:
            self.avo.say(f"v{wanted.version} was withdrawn; Z takes the roll-back back", "warn")
            return
        target = wanted if wanted in choices else choices[0]
        self.app.push_screen(Rollback(s, target), self._send_rollback)

    def _send_rollback(self, version: int | None) -> None:
        if version is not None:
            self.avo.command("rollback", {"version": version})

    def action_undo(self) -> None:
        """Cancel a command that waits, else take back the last roll-back."""
        if not self.avo.may_act():
            return
        s = self.avo.snapshot
        waiting = [
            c for c in s.commands if c.state in ("sent", "seen") and c.client == self.avo.client and c.verb != "cancel"
        ]
        if waiting:
            self.avo.command("cancel", {"command": waiting[-1].command})
            return
        moved = self.avo.undoable()
        if moved is None:
            self.avo.say("nothing to undo: no command waits, and no roll-back is left", "warn")
            return
        before, after = (s.version(n) for n in moved)
        lines = _undo_lines(s.head, before, after)
        self._confirm(lines, " Undo the roll-back ", "Undo", lambda: self.avo.command("undo"))

    def action_acknowledge(self) -> None:
        """Acknowledge the selected alert, or the gravest."""
        if not self.avo.may_act():
            return
        alerts = self.avo.snapshot.open_alerts
        number = self.chosen_alert()
        if number is None or number not in {a.alert for a in alerts}:
            number = alerts[0].alert if alerts else None
        if number is None:
            self.avo.say("no alert is open")
        else:
            self.avo.command("acknowledge", {"alert": number})

    def action_pin(self) -> None:
        """Pin the selected direction."""
        self._mark("pin")

    def action_veto(self) -> None:
        """Veto the selected direction."""
        self._mark("veto")

    def _mark(self, verb: str) -> None:
        if not self.avo.may_act():
            return
        direction = self.chosen_direction()
        if direction is None:
            self.avo.say("select a direction in the context pane (7) first", "warn")
        else:
            self.avo.command("pin" if verb == "pin" else "veto", {"direction": direction})

    def action_limits(self) -> None:
        """Change the limits."""
        if not self.avo.may_act():
            return
        from avo_tui.screens.limits import LimitsDialog

        self.app.push_screen(LimitsDialog(self.avo.snapshot.limits), self._send_limits)

    def _send_limits(self, changed: dict[str, float | int | None] | None) -> None:
        if changed:
            self.avo.command("limits", changed)

    def action_stop(self) -> None:
        """Stop for good, once the run's name was typed."""
        if not self.avo.may_act():
            return
        s = self.avo.snapshot
        head = f"v{s.head}" if s.head is not None else "no version"
        lines: list[Line] = [
            (("The run ends at the next boundary; ", ""), (head, "accent"), (" stays its best version.", "")),
            ((f"'avo resume {s.run}' can take it up again.", "dim"),),
            (),
        ]
        self._confirm(lines, " Stop the run ", "Stop", lambda: self.avo.command("stop"), confirm=(s.run,))

    def _confirm(self, lines: list[Line], title: str, verb: str, then: object, confirm: tuple[str, ...] = ()) -> None:
        from avo_tui.screens.dialog import Dialog

        def answered(yes: object) -> None:
            if yes and callable(then):
                then()

        self.app.push_screen(Dialog(lines, title=title, verb=verb, confirm=confirm), answered)

    def action_redraw(self) -> None:
        """Draw everything anew."""
        self.refresh(layout=True)
        for widget in self.query(Painted):
            widget.repaint(everything=True)

    def action_detach(self) -> None:
        """Leave; the run goes on."""
        self.avo.action_detach()

    def action_help(self) -> None:
        """The key table."""
        from avo_tui.screens.help import Help

        self.app.push_screen(Help(self.table))


def _undo_lines(head: int | None, before: Version | None, after: Version | None) -> list[Line]:
    if before is None:
        return [((f"the head is v{head}", ""),)]
    unit = show.unit_for([before.geomean_tflops])
    rolled: Line = ((f" (rolled back to v{after.version})", "dim"),) if after else ()
    number = (f"v{before.version}", "accent")
    return [
        (("the head goes from ", "dim"), (f"v{head}", "accent"), (" back to ", "dim"), number, *rolled),
        (number, (f" {clip_text(one_line(before.name), 50)}", ""), (f"  {unit.full(before.geomean_tflops)}", "strong")),
        (("nothing is lost either way", "dim"),),
    ]
