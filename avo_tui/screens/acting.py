"""Acting: the capital letters. Mixed into screens from which the run can be steered."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

from textual import events
from textual.screen import Screen

if TYPE_CHECKING:
    from avo_tui.app import AvoApp


class Acting(Screen[None]):
    """What every screen of the room shares."""

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

    def action_pause(self) -> None:
        """Pause at the next boundary, or resume."""
        if self.avo.may_act():
            self.avo.command("resume" if self.avo.snapshot.state == "paused" else "pause")
