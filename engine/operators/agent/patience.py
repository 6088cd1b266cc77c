"""Patience: waits that a person sees and can cut short, and how often in a row to ask again.

One rule: a wait is the engine's too. Whatever a person asks during one ends the turn at once, so that the
boundary acts on it; the rest of the wait goes on in the next turn.
"""

from __future__ import annotations

import asyncio
import time

from engine.operators.agent import ledger
from engine.operators.agent.faults import Backoff, ModelFault
from engine.record import events as ev
from engine.record.errors import OperatorError
from engine.session import Session

BROKEN_LIMIT = 5
BAD_CALL_LIMIT = 2
POLL_S = 0.5


class Patience:
    """One outstanding wait, and the failures in a row that led to it."""

    def __init__(self, backoff: Backoff) -> None:
        self.backoff = backoff
        self._until, self._reason = 0.0, ""
        self._failures = self._broken = self._bad_calls = 0
        self._last_command = 0

    @property
    def strict(self) -> bool:
        """Whether a reply with unreadable tool calls is asked for again, and not taken as it is."""
        return self._bad_calls < BAD_CALL_LIMIT

    async def sit_out(self, session: Session) -> bool:
        """Sit out an outstanding wait, in view; False to let the engine act on a command or a limit first."""
        while (left := self._until - time.monotonic()) > 0:
            session.doing(f"waiting {left:.0f}s: {self._reason}")
            await session.guard(asyncio.sleep(min(left, POLL_S)))
            verbs = self._commands(session)
            if "resume" in verbs:
                self.end_wait()
            if verbs or ledger.exhausted(session):
                return False
        return True

    def end_wait(self) -> None:
        """Wait no longer."""
        self._until = 0.0

    def reset(self) -> None:
        """A reply came: nothing failed in a row any more."""
        self._failures = self._broken = self._bad_calls = 0

    def again_later(self, session: Session, fault: ModelFault) -> None:
        """Wait as the server wishes, or longer each time. There is no limit but the run's own."""
        seconds = self.backoff.seconds(self._failures, fault.retry_after_s)
        self._failures += 1
        self._wait(session, seconds, str(fault))

    def again(self, session: Session, fault: ModelFault) -> None:
        """Ask for a broken reply again; after five in a row a person must look."""
        self._broken += 1
        self._bad_calls += fault.bad_call
        if self._broken >= BROKEN_LIMIT:
            self._broken = 0
            raise OperatorError(f"{BROKEN_LIMIT} replies in a row were unusable, the last one because {fault}")
        self._wait(session, self.backoff.seconds(self._broken - 1, None), str(fault))

    def _wait(self, session: Session, seconds: float, reason: str) -> None:
        self._until, self._reason = time.monotonic() + seconds, reason
        self._commands(session)
        session.record(ev.Waited(reason, round(seconds, 1)))

    def _commands(self, session: Session) -> set[str]:
        """What was asked since this was last looked at."""
        fresh = [c for c in session.reader.commands(limit=5) if c.command > self._last_command]
        self._last_command = max([self._last_command, *(c.command for c in fresh)])
        return {c.verb for c in fresh}
