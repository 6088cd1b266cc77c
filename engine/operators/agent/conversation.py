"""The conversation: what every request consists of, and the epochs it is cut into.

One rule: within an epoch each request begins with the whole one before. Whatever changes the prefix (another
model, other tools, a full window, a server that no longer takes the history) begins a new epoch.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from engine.operators.agent import prompts
from engine.operators.agent.card import card, tokens_of
from engine.operators.agent.client import ModelClient, Request, Told
from engine.operators.agent.history import History, Repair, fingerprint
from engine.operators.agent.window import Window, estimate
from engine.record import events as ev
from engine.record.errors import OperatorError
from engine.session import Session
from engine.tools import schemas


class Conversation:
    """A history, the model it is with, and the window it must fit."""

    def __init__(self, session: Session, client: ModelClient) -> None:
        self._session, self._client = session, client
        self.history, repair = History.load(session.folder.path / "agent")
        _report(session, repair)
        self._configured = session.config.model
        before, fallback = self.history.model, self._configured.fallback
        self.model = fallback if before and before == fallback else self._configured.name
        self._system = prompts.system_prompt(session)
        self._tools = schemas(session.tools)
        self._fingerprints: dict[str, str] = {}
        self._window: Window | None = None
        self._told = Told()

    async def measure(self) -> None:
        """Ask the server, once, how large the model's window is and how long its replies may be."""
        if self._window is None:
            self._told = await self._session.guard(self._client.told(self.model))
            self._window = Window.of(self._configured.window_tokens, self._told.window)

    def stale(self) -> bool:
        """Whether the epoch was begun with another model, other tools or other instructions, or not at all."""
        return self.history.fingerprint != self._fingerprint()

    async def crowded(self, *, settled: bool) -> bool:
        """Whether to begin a new epoch because the window fills. `settled`: an evaluation has just ended."""
        window, pending = self._fitting(), estimate(self.history.pending())
        tokens = self.history.context_tokens + pending
        if pending > window.count_above:
            counted: int | None = await self._session.guard(self._client.count(self.request()))
            tokens = counted or tokens
        return window.full(tokens, settled=settled, replies=self.history.replies)

    def request(self, extra: str = "") -> Request:
        """The next request; `extra` words are sent once and not kept."""
        messages = _with_words(self.history.messages, extra) if extra else self.history.messages
        reply = self._fitting().reply(self._configured.max_tokens, self._told.reply)
        return Request(self.model, self._system, self._tools, messages, reply)

    def begin(self, reason: str, summary: str = "", *, model: str = "") -> None:
        """Begin a new epoch with the state card and, when it is not too long, the model's own handoff."""
        if model and model != self.model:
            self.model, self._window, self._told = model, None, Told()  # another model has another window
        window = self._fitting()
        opening = card(self._session, summary=summary, reason=reason)
        if summary and tokens_of(opening) > window.card_limit:
            summary, opening = "", card(self._session, reason=reason)
        fixed = estimate([*self._system, *self._tools])
        if not window.holds(fixed, tokens_of(opening)):
            raise OperatorError(
                f"the model's window of {window.tokens:,} tokens is too small: instructions and tools take {fixed:,}, "
                f"the state card {tokens_of(opening):,}; raise model.window_tokens or choose another model"
            )
        self.history.begin(opening, model=self.model, fingerprint=self._fingerprint(), reason=reason)
        self._session.record(ev.EpochBegan(self.history.epoch, reason, tokens_of(opening), bool(summary)))

    def _fitting(self) -> Window:
        return self._window or Window.of(self._configured.window_tokens, None)

    def _fingerprint(self) -> str:
        """Instructions and tools are those of this process, so each model's is made once."""
        if self.model not in self._fingerprints:
            self._fingerprints[self.model] = fingerprint(self._system, self._tools, self.model)
        return self._fingerprints[self.model]


def _with_words(messages: Sequence[Mapping[str, Any]], words: str) -> list[Mapping[str, Any]]:
    """The conversation with more words at its end."""
    block = {"type": "text", "text": words}
    last = messages[-1]
    if last["role"] == "user":
        return [*messages[:-1], {"role": "user", "content": [*last["content"], block]}]
    return [*messages, {"role": "user", "content": [block]}]


def _report(session: Session, repair: Repair) -> None:
    if repair.damaged:
        words = f"the conversation's log is damaged ({repair.damaged}); a new conversation begins from the record"
        session.record(ev.Warned(words))
    if repair.torn or repair.cut_short or repair.never_ran:
        session.record(
            ev.Warned(
                f"the conversation was cut by the engine's end: {repair.cut_short} tool calls interrupted, "
                f"{repair.never_ran} never begun{', one record half written' if repair.torn else ''}"
            )
        )
