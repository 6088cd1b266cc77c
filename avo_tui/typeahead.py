"""Type-ahead: a key waits until the key before it was obeyed, and then goes where that one led.

Textual hands each key at once to what has the focus, and obeys it a few queues later. Keys that come faster than that
(typed in a hurry, pasted, or held up by a slow line) went to the pane that had the focus before: `t` and `#954` opened
a prompt and then changed panes.
"""

from __future__ import annotations

from collections import deque
from contextlib import suppress
from typing import Any

from textual import events
from textual.app import App, ScreenStackError
from textual.message import Message
from textual.screen import Screen
from textual.widget import Widget

LOOK_S = 0.02
# Looks, not seconds: a room that is busy with a key also looks late, and then finds that the key was obeyed.
PATIENCE = 25


class Obeyed(Message):
    """Takes a key's way right behind it, and so comes to the app once the key was obeyed."""

    def __init__(self, number: int) -> None:
        super().__init__()
        self.number = number


class InOrder(App[int]):
    """An app whose keys are obeyed one after the other."""

    ready = True  # until then keys wait

    def __init__(self, *given: Any, **named: Any) -> None:
        super().__init__(*given, **named)
        self._number = 0  # of the key that is being obeyed, which went to `_target` on `_top`
        self._obeying = self._looking = False
        self._target: Widget | None = None
        self._top: Screen[Any] | None = None
        self._looks = 0  # since then
        self._typed: deque[events.Event] = deque()

    async def on_event(self, event: events.Event) -> None:
        """Pass a key on, or keep it until its turn; everything else is as in every app."""
        if not isinstance(event, events.Key | events.Paste) or event.is_forwarded:
            await super().on_event(event)
            return
        self._typed.append(event)
        if len(self._typed) == 1:
            await self._pass_on()

    async def _pass_on(self) -> None:
        """Pass the first key on that waits, if it may go; else look again soon."""
        if not self.screen_stack:  # the app ends
            self._typed.clear()
        if not self._typed:
            return
        if not self.ready or (self._obeying and not self._lost()):
            if not self._looking:
                self._looking = True
                self.set_timer(LOOK_S, self._look)
            return
        self._obeying = True
        self._number += 1
        self._target, self._top, self._looks = self.focused or self.screen, self.screen, 0
        with suppress(ScreenStackError):  # the app ended meanwhile
            await super().on_event(self._typed.popleft())
        self._target.post_message(Obeyed(self._number))
        if self._typed:
            await self._pass_on()

    async def _look(self) -> None:
        self._looking = False
        self._looks += 1
        await self._pass_on()

    def _lost(self) -> bool:
        """Whether the word that a key was obeyed will not come: what it went to is gone, often because of the key."""
        gone = self._top not in self.screen_stack or self._target is None or not self._target.is_running
        return gone or self._looks > PATIENCE

    def on_obeyed(self, message: Obeyed) -> None:
        """What the key opened may have been made by now, and still asks for the focus: let it come first."""
        if self.screen_stack:
            self.screen.call_later(self.call_later, self._go_on, message.number)

    async def _go_on(self, number: int) -> None:
        if number == self._number:
            self._obeying = False
            await self._pass_on()
