"""The agent: a model that decides by itself what to read, edit, measure and submit. One `turn()` is one reply.

One rule: what happened is on disk before the next thing happens (history.py), so that the engine may
die, be paused or be interrupted at any point and the conversation stays valid.

The order within a turn: an outstanding wait, the budget, room in the window, the inbox, the request,
the reply, its tool calls. Every way a request can fail is a ModelFault (faults.py) and handled here.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from engine.operators.acknowledge import Acknowledge, with_acknowledge
from engine.operators.agent import ledger, prompts
from engine.operators.agent.calls import pursue_plan, use_tools
from engine.operators.agent.client import ModelClient, Request
from engine.operators.agent.conversation import Conversation
from engine.operators.agent.digest import digest as whole_digest
from engine.operators.agent.faults import Backoff, ModelFault
from engine.operators.agent.history import History
from engine.operators.agent.patience import Patience
from engine.operators.agent.reply import Call, Reply, Usage
from engine.operators.agent.review import ReviewUnavailable, review
from engine.record import events as ev
from engine.record.errors import OperatorError
from engine.record.reader import Direction
from engine.session import Interrupted, Session
from engine.supervisor import Review

REFUSAL_LIMIT = 3
IDLE_LIMIT = 12
REMIND_AFTER = 2
REVIEW_CAP_S = 30.0
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
        self.talk = Conversation(session, self.client)
        self._patience = Patience(backoff or Backoff())
        self._told: set[str] = set()
        self._owed: dict[str, int] = {}
        self._overflows = self._refusals = self._idle = 0
        self._settled = False
        self._cache = ledger.CacheWatch()

    @property
    def history(self) -> History:
        """The conversation's log."""
        return self.talk.history

    async def turn(self, session: Session) -> None:
        """One reply of the model and its tool calls, or one step of whatever keeps it from answering."""
        try:
            if not await self._patience.sit_out(session) or ledger.exhausted(session):
                return
            ledger.require_price(session, self.talk.model)
            self.history.mend()
            await self._make_room(session)
            self._deliver(session)
            await self._act(session, await self._ask(session))
        except ModelFault as fault:
            self._meet(session, fault)
        except Interrupted:
            self._patience.end_wait()
            raise

    async def review(self, digest: str, known: Sequence[Direction]) -> Review | None:
        """The supervisor's second opinion, by the model in a conversation of its own; None when there is none."""
        backoff = replace(self._patience.backoff, cap_s=min(self._patience.backoff.cap_s, REVIEW_CAP_S))
        try:
            words = whole_digest(self._session, digest, known)
            found = await review(self._session, words, client=self.client, backoff=backoff)
        except (ReviewUnavailable, Interrupted) as reason:
            self._session.record(ev.Warned(f"no review by the model: {reason}"))
            return None
        return Review(found.diagnosis, tuple(("", d.text()) for d in found.directions))

    async def close(self) -> None:
        """Let go of the connection and the log."""
        await self.client.close()
        self.history.close()

    def _meet(self, session: Session, fault: ModelFault) -> None:
        if fault.action == "stop":
            raise OperatorError(str(fault)) from fault
        if fault.action == "wait":
            self._patience.again_later(session, fault)
        elif fault.action == "resend":
            self._patience.again(session, fault)
        else:
            self._overflow(fault)

    def _overflow(self, fault: ModelFault) -> None:
        self._overflows += 1
        if self._overflows > 1 and not self.history.replies:
            words = f"even a fresh conversation does not fit: {fault}; raise model.window_tokens or change it"
            raise OperatorError(words) from fault
        self._begin(str(fault))

    # --- before the request ----------------------------------------------------------------

    async def _make_room(self, session: Session) -> None:
        """See that the next request fits and that its prefix is the one the epoch was begun with."""
        await self.talk.measure()
        if self.talk.stale():
            self._begin("the tools or the instructions changed" if self.history.messages else "")
        elif await self.talk.crowded(settled=self._settled):
            self._begin("the one before was full", await self._handoff(session))

    async def _handoff(self, session: Session) -> str:
        """The model's own words for the next epoch; empty when it gives none that can be used."""
        for _ in range(2):
            try:
                reply = await self._send(session, self.talk.request(prompts.HANDOFF), "handoff")
            except ModelFault as fault:
                if fault.action != "room":
                    raise
                break
            if reply.stop_reason in ("end_turn", "stop_sequence") and not reply.calls and reply.text.strip():
                return reply.text.strip()
        return ""

    def _begin(self, reason: str, summary: str = "", *, model: str = "") -> None:
        self.talk.begin(reason, summary, model=model)
        self._settled = False

    def _deliver(self, session: Session) -> None:
        """Put what waits for the model into the next user message."""
        if self.history.paused:
            return
        for directive in session.inbox():
            if directive.level == "restore":
                self._begin("the supervisor restored the best version and asks for a fresh look")
            if directive.id not in self.history.delivered:
                self.history.user(prompts.direction(directive), [directive.id])
            self._owed[directive.id] = 0
        if late := [i for i, replies in self._owed.items() if replies == REMIND_AFTER]:
            self.history.user(prompts.reminder(late))
        for notice in ledger.notices(session, self._told):
            self.history.user(prompts.BUDGET.format(what=notice))
        if not self.history.awaiting_reply:
            self.history.user(prompts.nudge(session))

    # --- the request -----------------------------------------------------------------------

    async def _ask(self, session: Session) -> Reply:
        self.history.request(session.turn)
        reply = await self._send(session, self.talk.request(), "turn")
        if missed := self._cache.look(reply.usage):
            session.record(ev.Warned(missed))
        self._patience.reset()
        self._overflows = 0
        return reply

    async def _send(self, session: Session, request: Request, what: str) -> Reply:
        """One reply. What it cost, however it ended, and what it says are one transaction."""
        session.doing(f"{request.model} is thinking" if what == "turn" else f"{request.model} writes a {what}")
        bill: list[Usage] = []
        said: Sequence[ev.Said] = ()
        call = self.client.send(request, words=session.stream, spent=bill.append, strict=self._patience.strict)
        try:
            reply = await session.guard(call)
            if what == "turn":
                said = _said(reply, session.turn)
            return reply
        finally:
            if facts := [*(ledger.cost(session, what, usage, request.model) for usage in bill), *said]:
                session.record(*facts)
            session.stream("")

    # --- the reply -------------------------------------------------------------------------

    async def _act(self, session: Session, reply: Reply) -> None:
        if reply.stop_reason == "refusal":
            self._refused(session, reply)
            return
        self._refusals = 0
        if reply.content:  # an empty reply is not sent back and so not kept
            self.history.assistant(reply)
            self.history.usage(reply.usage.context_tokens)
        if reply.stop_reason == "pause_turn":
            return
        self._owed = {i: replies + 1 for i, replies in self._owed.items() if replies < REMIND_AFTER}
        if reply.calls:
            await self._use_tools(session, reply.calls)
        if reply.stop_reason == "max_tokens":
            self.history.user(prompts.CUT)
        if not reply.calls:
            self._talked(session, cut=reply.stop_reason == "max_tokens")

    async def _use_tools(self, session: Session, calls: Sequence[Call]) -> None:
        self._idle = 0
        well = await use_tools(session, self.history, calls)
        self._settled = any(call.name in _SETTLING for call in calls)
        for call in well:
            if call.name == Acknowledge.name:
                self._owed.pop(str(call.arguments.get("direction")), None)
            elif call.name == "plan":
                pursue_plan(session, call.arguments)

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
            words = f"the model refused {REFUSAL_LIMIT} times in a row{why}; give it a direction, or change it"
            raise OperatorError(words)
        if self._refusals == 1:
            self.history.user(prompts.REWORDED.format(why=why))
        else:
            self._begin("the model refused to continue the one before", model=session.config.model.fallback)


def _said(reply: Reply, turn: int) -> list[ev.Said]:
    """A reply's words for the transcript; a refused one has none."""
    spoken = () if reply.stop_reason == "refusal" else ((reply.reasoning, True), (reply.text, False))
    return [ev.Said(words, turn, reasoning) for words, reasoning in spoken if words.strip()]
