"""Tool calls of a reply: each is written down before it runs and answered whatever becomes of it.

One rule: when this returns or raises, no call of the reply is left without a result, because the API
takes no conversation with an open call in it. A pause, a stop or a limit lets the call at work finish and no more.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Mapping, Sequence
from typing import Any

from engine.operators.agent import ledger, prompts
from engine.operators.agent.history import History
from engine.operators.agent.reply import Call
from engine.record import events as ev
from engine.record.errors import AvoError
from engine.session import Exhausted, Interrupted, Session, ToolResult

_WANT_BOUNDARY = frozenset({"pause", "stop", "rollback", "undo"})
INTERRUPTED = "Interrupted by the person; whether it took effect is unknown. Look before you try again."
FAILED = "Cut short because the engine met a fault of its own; whether it took effect is unknown."


async def use_tools(session: Session, history: History, calls: Sequence[Call]) -> list[Call]:
    """Run a reply's calls in order; returns those that went well."""
    well: list[Call] = []
    try:
        for index, call in enumerate(calls):
            if refusal := _not_run(call, index) or (_called_off(session) if index else ""):
                history.result(call.id, refusal, error=True)
            elif await _use(session, history, call):
                well.append(call)
    except BaseException as error:
        why = INTERRUPTED if isinstance(error, (Interrupted, asyncio.CancelledError)) else FAILED
        for call_id in history.open_calls():
            history.result(call_id, why, error=True)
        raise
    return well


async def _use(session: Session, history: History, call: Call) -> bool:
    history.started(call.id)
    try:
        result = await session.call(call.name, call.arguments, call=call.id)
    except (AvoError, Interrupted, Exhausted):
        raise
    except Exception as error:
        why = f"{type(error).__name__}: {error}"
        session.record(ev.Warned(f"the tool {call.name} failed on its own account: {why}"))
        result = ToolResult(False, f"The tool itself failed: {why}")
    history.result(call.id, result.text, error=not result.ok)
    return result.ok


def _called_off(session: Session) -> str:
    """Why the rest of a reply's calls must not run: the person or a limit wants the boundary after the current one."""
    if limit := ledger.exhausted(session):
        return f"Not executed: {limit}."
    waiting = session.reader.commands(states=("sent", "seen"))
    asked = next((c for c in waiting if c.verb in _WANT_BOUNDARY), None)
    return f"Not executed: {asked.person} wants {asked.verb} first. Call again if you still need it." if asked else ""


def _not_run(call: Call, index: int) -> str:
    if call.broken:
        return f"Not executed: the call {call.broken}. Send it again, whole; write long files in several edits."
    if index >= prompts.MAX_CALLS:
        return f"Not executed: at most {prompts.MAX_CALLS} tool calls in one reply. Send it again."
    return ""


def pursue_plan(session: Session, arguments: Mapping[str, Any]) -> None:
    """The plan's active item is the direction pursued: a given one when it bears its id, else the agent's own."""
    items = arguments.get("items")
    active = next((i for i in items if isinstance(i, dict) and i.get("status") == "active"), None) if items else None
    words = " ".join(str(active.get("text", "")).split()) if active else ""
    if active is None or not words:
        return
    given = next((d for d in session.reader.directions() if d.direction == active.get("id")), None)
    if given is not None and given.source in ("person", "supervisor"):
        if given.direction != session.pursuit.id:
            source = "person" if given.source == "person" else "supervisor"
            session.pursue(given.direction, given.name, source, words)  # type: ignore[arg-type]
        return
    own = "plan-" + hashlib.sha256(words.encode()).hexdigest()[:8]
    if own != session.pursuit.id:
        session.pursue(own, words[:120], "agent", words)
