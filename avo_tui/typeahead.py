"""Type-ahead: a key waits until the key before it was obeyed, and then goes where that one led.

Textual hands each key at once to what has the focus, and obeys it a few queues later. Keys that come faster than that
(typed in a hurry, pasted, or held up by a slow line) went to the pane that had the focus before: `t` and `#954` opened
a prompt and then changed panes.
"""

from __future__ import annotations

from collections import deque
from typing import Any

from textual import events
from textual.app import App
from textual.message import Message

PATIENCE_S = 0.5  # what had the focus may be gone, and with it the word that the key was obeyed


class Obeyed(Message):
    """Takes a key's way right behind it, and so comes to the app once the key was obeyed."""

    def __init__(self, number: int) -> None:
        super().__init__()
        self.number = number


class InOrder(App[int]):
    """An app whose keys are obeyed one after the other."""

    _number = 0  # of the key that is being obeyed
    _obeying = False

    def __init__(self, *given: Any, **named: Any) -> None:
        super().__init__(*given, **named)
        self._typed: deque[events.Event] = deque()

    async def on_event(self, event: events.Event) -> None:
        """Pass a key on, or keep it until its turn; everything else is as in every app."""
        if not isinstance(event, events.Key | events.Paste) or event.is_forwarded:
            await super().on_event(event)
        elif self._obeying:
            if not self._typed:
                self.set_timer(PATIENCE_S, lambda n=self._number: self._go_on(n))
            self._typed.append(event)
        else:
            await self._pass_on(event)

    async def _pass_on(self, event: events.Event) -> None:
        self._obeying = True
        self._number += 1
        target = self.focused or self.screen
        await super().on_event(event)
        if not target.post_message(Obeyed(self._number)):
            await self._go_on(self._number)

    async def on_obeyed(self, message: Obeyed) -> None:
        """What the key opened may have been made by now, and still asks for the focus: let it come first."""
        if not self.screen.call_later(self.call_later, self._go_on, message.number):
            await self._go_on(message.number)

    async def _go_on(self, number: int) -> None:
        if number != self._number or not self._obeying:
            return
        self._obeying = False
        if self._typed:
            await self._pass_on(self._typed.popleft())
            if self._typed:
                self.set_timer(PATIENCE_S, lambda n=self._number: self._go_on(n))
