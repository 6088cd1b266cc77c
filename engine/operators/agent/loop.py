"""The agent: a model that decides by itself what to read, edit, measure and submit. One `turn()` is one reply.

One rule: what happened is on disk before the next thing happens (history.py), so that the engine may
die, be paused or be interrupted at any point and the conversation stays valid.

The order within a turn: an outstanding wait, the budget, room in the window, the inbox, the request,
the reply, its tool calls. Every way a request can fail is a ModelFault (faults.py) and handled here.
"""

from __future__ import annotations

import asyncio
import hashlib
import time
from collections.abc import Awaitable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from engine.operators.acknowledge import Acknowledge, with_acknowledge
from engine.operators.agent import ledger, prompts
from engine.operators.agent.card import card, tokens_of
from engine.operators.agent.client import ModelClient, Request
from engine.operators.agent.faults import Backoff, ModelFault
from engine.operators.agent.history import History, Repair, fingerprint
from engine.operators.agent.reply import Call, Reply
from engine.operators.agent.review import ReviewUnavailable, review
from engine.operators.agent.window import Window, estimate
from engine.record import events as ev
from engine.record.errors import AvoError, OperatorError
from engine.record.reader import Direction
from engine.session import Exhausted, Interrupted, Session, ToolResult
from engine.supervisor import Review

BROKEN_LIMIT = 5
BAD_CALL_LIMIT = 2
REFUSAL_LIMIT = 3
IDLE_LIMIT = 12
REMIND_AFTER = 2
POLL_S = 0.5
REVIEW_CAP_S = 30.0
INTERRUPTED = "Interrupted by the person; whether it took effect is unknown. Look before you try again."
_SETTLING = frozenset({"evaluate", "submit"})


class Agent:
    """The operator `agent`. It owns the conversation and the connection to the model."""

    name = "agent"

    def __init__(self, session: Session, *, client: ModelClient | None = None, backoff: Backoff | None = None) -> None:
        self._session = session
        session.tools = with_acknowledge(session.tools)
        self.client = client or ModelClient(session.config.model)
        try:
            self.client.connect()
        except ModelFault as fault:
            raise OperatorError(str(fault)) from fault
        self.backoff = backoff or Backoff()
        self.history, repair = History.load(session.folder.path / "agent")
        _report(session, repair)
        model, before = session.config.model, self.history.model
        self._model = model.fallback if before and before == model.fallback else model.name
        self._system = prompts.system_prompt(session)
        self._tools = [_schema(tool) for tool in session.tools.values()]
        self._window: Window | None = None
        self._told: set[str] = set()
        self._owed: dict[str, int] = {}
        self._failures = self._broken = self._bad_calls = self._full = self._refusals = self._idle = 0
        self._wait_until, self._wait_reason, self._last_command = 0.0, "", 0
        self._settled = False

    async def turn(self, session: Session) -> None:
        """One reply of the model and its tool calls, or one step of whatever keeps it from answering."""
        try:
            if not await self._waited(session) or ledger.exhausted(session):
                return
            await self._make_room(session)
            self._deliver(session)
            reply = await self._ask(session)
            await self._act(session, reply)
        except ModelFault as fault:
            self._meet(session, fault)
        except Interrupted:
            self._wait_until = 0.0
            raise

    async def review(self, digest: str, known: Sequence[Direction]) -> Review | None:
        """The supervisor's second opinion, by the model in a conversation of its own; None when there is none."""
        names = "\n".join(f"- {d.name} ({d.source}): {d.state}" for d in known)
        try:
            found = await review(
                self._session,
                f"{digest}\nDirections so far:\n{names}",
                client=self.client,
                backoff=replace(self.backoff, cap_s=min(self.backoff.cap_s, REVIEW_CAP_S)),
            )
        except (ReviewUnavailable, Interrupted) as reason:
            self._session.record(ev.Warned(f"no review by the model: {reason}"))
            return None
        return Review(found.diagnosis, tuple(("", d.text()) for d in found.directions))

    async def close(self) -> None:
        """Let go of the connection and the log."""
        await self.client.close()
        self.history.close()

    # --- waiting ---------------------------------------------------------------------------

    async def _waited(self, session: Session) -> bool:
        """Sit out an outstanding wait, in view; False to let the engine act on a command or a limit first."""
        while (left := self._wait_until - time.monotonic()) > 0:
            session.doing(f"waiting {left:.0f}s: {self._wait_reason}")
            await session.guard(asyncio.sleep(min(left, POLL_S)))
            verbs = self._new_commands(session)
            if "resume" in verbs:
                self._wait_until = 0.0
            if verbs or ledger.exhausted(session):
                return False
        return True

    def _new_commands(self, session: Session) -> set[str]:
        """What was asked since this wait began or was last looked at; a resume cuts the wait short."""
        fresh = [c for c in session.reader.commands(limit=5) if c.command > self._last_command]
        self._last_command = max([self._last_command, *(c.command for c in fresh)])
        return {c.verb for c in fresh}

    def _wait(self, session: Session, seconds: float, reason: str) -> None:
        self._wait_until, self._wait_reason = time.monotonic() + seconds, reason
        self._new_commands(session)
        session.record(ev.Waited(reason, round(seconds, 1)))

    # --- faults ----------------------------------------------------------------------------

    def _meet(self, session: Session, fault: ModelFault) -> None:
        if fault.action == "stop":
            raise OperatorError(str(fault)) from fault
        if fault.action == "room":
            self._overflow(session, fault)
        elif fault.action == "wait":
            self._wait(session, self.backoff.seconds(self._failures, fault.retry_after_s), str(fault))
            self._failures += 1
        else:
            self._resend(session, fault)

    def _resend(self, session: Session, fault: ModelFault) -> None:
        self._broken += 1
        self._bad_calls += fault.bad_call
        if self._broken >= BROKEN_LIMIT:
            self._broken = 0
            raise OperatorError(f"{BROKEN_LIMIT} replies in a row were unusable, the last one because {fault}")
        self._wait(session, self.backoff.seconds(self._broken - 1, None), str(fault))

    def _overflow(self, session: Session, fault: ModelFault) -> None:
        self._full += 1
        if self._full > 1 and not self.history.replies:
            raise OperatorError(
                f"even a fresh conversation does not fit: {fault}; raise model.window_tokens or change it"
            )
        self._begin(session, str(fault))

    # --- the window ------------------------------------------------------------------------

    async def _make_room(self, session: Session) -> None:
        """See that the next request fits and that its prefix is the one the epoch was begun with."""
        if self._window is None:
            self._window = Window.of(
                session.config.model.window_tokens, await _guarded(session, self.client.window_tokens(self._model))
            )
        if self.history.fingerprint != fingerprint(self._system, self._tools, self._model):
            self._begin(session, "the tools or the instructions changed" if self.history.messages else "")
        elif await self._crowded(session):
            await self._compact(session)

    async def _crowded(self, session: Session) -> bool:
        assert self._window is not None
        pending = self.history.pending()
        tokens = self.history.context_tokens + estimate(pending)
        if estimate(pending) > self._window.count_above:
            tokens = await _guarded(session, self.client.count(self._request())) or tokens
        return self._window.full(tokens, settled=self._settled, replies=self.history.replies)

    async def _compact(self, session: Session) -> None:
        """A new epoch that opens with the state card and the model's own handoff, when it gives a usable one."""
        summary = ""
        for _ in range(2):
            try:
                summary = await self._handoff(session)
            except ModelFault as fault:
                if fault.action != "room":
                    raise
                break
            if summary:
                break
        self._begin(session, "the one before was full", summary)

    async def _handoff(self, session: Session) -> str:
        reply = await self._send(session, self._request(prompts.HANDOFF), "handoff")
        usable = reply.stop_reason in ("end_turn", "stop_sequence") and not reply.calls
        return reply.text.strip() if usable else ""

    def _begin(self, session: Session, reason: str, summary: str = "") -> None:
        window = self._window or Window.of(session.config.model.window_tokens, None)
        opening = card(session, summary=summary, reason=reason)
        if tokens_of(opening) > window.card_limit and summary:
            summary = ""
            opening = card(session, reason=reason)
        fixed = estimate([*self._system, *self._tools])
        if not window.holds(fixed, tokens_of(opening)):
            raise OperatorError(
                f"the model's window of {window.tokens:,} tokens is too small: instructions and tools take {fixed:,}, "
                f"the state card {tokens_of(opening):,}; raise model.window_tokens or choose another model"
            )
        prefix = fingerprint(self._system, self._tools, self._model)
        self.history.begin(opening, model=self._model, fingerprint=prefix, reason=reason)
        self._settled = False
        session.record(ev.EpochBegan(self.history.epoch, reason, tokens_of(opening), bool(summary)))

    # --- the request -----------------------------------------------------------------------

    def _deliver(self, session: Session) -> None:
        """Put what waits for the model into the next user message."""
        if self.history.paused:
            return
        for directive in session.inbox():
            if directive.level == "restore":  # the supervisor wants a fresh look at the restored version
                self._begin(session, "the supervisor restored the best version and asks for a fresh look")
            if directive.id not in self.history.delivered:
                self.history.user(prompts.direction(directive), [directive.id])
            self._owed[directive.id] = 0
        if late := [i for i, replies in self._owed.items() if replies == REMIND_AFTER]:
            self.history.user(prompts.reminder(late))
        for notice in ledger.notices(session, self._told):
            self.history.user(prompts.BUDGET.format(what=notice))
        if not self.history.awaiting_reply:
            self.history.user(prompts.nudge(session))

    def _request(self, extra: str = "") -> Request:
        messages = _with_words(self.history.messages, extra) if extra else self.history.messages
        return Request(self._model, self._system, self._tools, messages, self.client.config.max_tokens)

    async def _ask(self, session: Session) -> Reply:
        self.history.request(session.turn)
        reply = await self._send(session, self._request(), "turn")
        self._failures = self._broken = self._bad_calls = self._full = 0
        return reply

    async def _send(self, session: Session, request: Request, what: str) -> Reply:
        session.doing(f"{request.model} is thinking" if what == "turn" else f"{request.model} writes a {what}")
        call = self.client.send(
            request,
            words=session.stream,
            spent=lambda usage: ledger.spend(session, what, usage, request.model),
            strict=self._bad_calls < BAD_CALL_LIMIT,
        )
        try:
            return await session.guard(call)
        finally:
            session.stream("")

    # --- the reply -------------------------------------------------------------------------

    async def _act(self, session: Session, reply: Reply) -> None:
        if reply.stop_reason == "refusal":
            self._refused(session, reply)
            return
        self._refusals = 0
        if reply.content:
            self.history.assistant(reply)
            self.history.usage(reply.usage.context_tokens)
            said = [
                ev.Said(t, session.turn, why) for t, why in ((reply.reasoning, True), (reply.text, False)) if t.strip()
            ]
            if said:
                session.record(*said)
        if reply.stop_reason == "pause_turn":
            return
        self._owed = {i: replies + 1 for i, replies in self._owed.items() if replies < REMIND_AFTER}
        if reply.calls:
            self._idle = 0
            await self._use_tools(session, reply.calls)
        if reply.stop_reason == "max_tokens":
            self.history.user(prompts.CUT)
        if not reply.calls:
            self._talked(session, cut=reply.stop_reason == "max_tokens")

    def _talked(self, session: Session, *, cut: bool) -> None:
        self._idle += 1
        if self._idle >= IDLE_LIMIT:
            self._idle = 0
            raise OperatorError(f"the model answered {IDLE_LIMIT} times in a row without using a tool")
        if not cut:
            self.history.user(prompts.nudge(session))

    def _refused(self, session: Session, reply: Reply) -> None:
        """A refused reply is never sent back: reword once, then a new epoch (and another model, if there is one)."""
        self._refusals += 1
        why = f" ({reply.refusal})" if reply.refusal else ""
        session.record(ev.Warned(f"the model refused to go on{why}; {self._refusals} in a row"))
        if self._refusals >= REFUSAL_LIMIT:
            self._refusals = 0
            raise OperatorError(
                f"the model refused {REFUSAL_LIMIT} times in a row{why}; give it a direction, or change it"
            )
        if self._refusals == 1:
            self.history.user(prompts.REWORDED.format(why=why))
            return
        self._model = session.config.model.fallback or self._model
        self._begin(session, "the model refused to continue the one before")

    async def _use_tools(self, session: Session, calls: Sequence[Call]) -> None:
        try:
            for index, call in enumerate(calls):
                if refusal := _not_run(call, index):
                    self.history.result(call.id, refusal, error=True)
                else:
                    await self._use(session, call)
        except (Interrupted, asyncio.CancelledError):
            for call_id in self.history.open_calls():
                self.history.result(call_id, INTERRUPTED, error=True)
            raise
        self._settled = any(c.name in _SETTLING for c in calls)

    async def _use(self, session: Session, call: Call) -> None:
        self.history.started(call.id)
        try:
            result = await session.call(call.name, call.arguments, call=call.id)
        except (AvoError, Interrupted, Exhausted, asyncio.CancelledError):
            raise
        except Exception as error:
            session.record(
                ev.Warned(f"the tool {call.name} failed on its own account: {type(error).__name__}: {error}")
            )
            result = ToolResult(False, f"The tool itself failed: {type(error).__name__}: {error}")
        self.history.result(call.id, result.text, error=not result.ok)
        if result.ok:
            self._follow(session, call)

    def _follow(self, session: Session, call: Call) -> None:
        """What a call says about the search: a direction answered, a direction now pursued."""
        if call.name == Acknowledge.name:
            self._owed.pop(str(call.arguments.get("direction")), None)
        if call.name == "plan" and (active := _active(call.arguments)):
            direction = "plan-" + hashlib.sha256(active.encode()).hexdigest()[:8]
            if direction != session.pursuit.id:
                session.pursue(direction, active[:120], "agent", active)


async def _guarded(session: Session, work: Awaitable[int | None]) -> int | None:
    return await session.guard(work)


def _not_run(call: Call, index: int) -> str:
    if call.broken:
        return f"Not executed: the call {call.broken}. Send it again, whole; write long files in several edits."
    if index >= prompts.MAX_CALLS:
        return f"Not executed: at most {prompts.MAX_CALLS} tool calls in one reply. Send it again."
    return ""


def _active(arguments: Mapping[str, Any]) -> str:
    items = arguments.get("items")
    for item in items if isinstance(items, list) else ():
        if isinstance(item, dict) and item.get("status") == "active":
            return " ".join(str(item.get("text", "")).split())
    return ""


def _schema(tool: Any) -> dict[str, Any]:
    return {"name": tool.name, "description": tool.description, "input_schema": dict(tool.schema)}


def _with_words(messages: Sequence[Mapping[str, Any]], words: str) -> list[Mapping[str, Any]]:
    """The conversation with more words at its end, for one request only."""
    block = {"type": "text", "text": words}
    last = messages[-1]
    if last["role"] == "user":
        return [*messages[:-1], {"role": "user", "content": [*last["content"], block]}]
    return [*messages, {"role": "user", "content": [block]}]


def _report(session: Session, repair: Repair) -> None:
    if repair.torn or repair.cut_short or repair.never_ran:
        session.record(
            ev.Warned(
                f"the conversation was cut by the engine's end: {repair.cut_short} tool calls interrupted, "
                f"{repair.never_ran} never begun{', one record half written' if repair.torn else ''}"
            )
        )
