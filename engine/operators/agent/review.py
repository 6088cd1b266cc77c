"""The supervisor's review by the model: a conversation of its own over a digest of the whole search.

One rule: it sees the record and not the agent's conversation, so that it is not drawn into the agent's
reasoning; and it costs from the same budget.
"""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Mapping
from typing import Any

from engine.operators.agent import ledger
from engine.operators.agent.client import ModelClient, Request
from engine.operators.agent.faults import Backoff, ModelFault
from engine.record import events as ev
from engine.record.frozen import dataclass
from engine.session import Session

LEAST = 3
ATTEMPTS = 3
MAX_TOKENS = 8_000
_SYSTEM = """\
You review an evolutionary search over programs that has stalled. One agent edits a candidate; a scorer measures it; \
only correct candidates that match or improve the best are committed. You see a digest of the whole search. Say what \
keeps it from progress, and name at least three directions that differ in kind from one another and from what was \
tried: not variations of the last failures. Each must be something the agent can begin at once.
Answer with one JSON object and nothing else:
{"diagnosis": "two to five sentences, with the evidence",
 "directions": [{"title": "a few words", "why": "what it should gain and why it was missed", \
"first_step": "the first concrete action", "knowledge": ["page or search words"]}]}"""
_OBJECT = re.compile(r"\{.*\}", re.DOTALL)


class ReviewUnavailable(Exception):
    """No review could be had, and why; the supervisor then does without."""


@dataclass(frozen=True, slots=True)
class ReviewDirection:
    """A direction that the review proposes."""

    title: str
    why: str
    first_step: str
    knowledge: tuple[str, ...] = ()

    def text(self) -> str:
        """The direction in one paragraph."""
        known = f" See: {', '.join(self.knowledge)}." if self.knowledge else ""
        return f"{self.title}: {self.why} First step: {self.first_step}{known}"


@dataclass(frozen=True, slots=True)
class Review:
    """What the model concluded from the digest."""

    diagnosis: str
    directions: tuple[ReviewDirection, ...]


async def review(session: Session, digest: str, *, client: ModelClient, backoff: Backoff) -> Review:
    """Ask for a diagnosis and at least three directions. Raises ReviewUnavailable; lets Interrupted pass."""
    words, why = f"<digest>\n{digest}\n</digest>", "no reply"
    for attempt in range(ATTEMPTS):
        if limit := ledger.exhausted(session):
            raise ReviewUnavailable(limit)
        try:
            return parse(await _ask(session, client, words))
        except ModelFault as fault:
            why = str(fault)
            if fault.action in ("stop", "room"):
                break
            wait_s = min(backoff.cap_s, backoff.seconds(attempt, fault.retry_after_s))
            session.record(ev.Waited(f"review: {why}", round(wait_s, 1)))
            await session.guard(asyncio.sleep(wait_s))
        except ValueError as error:
            why = f"its answer is not what was asked for: {error}"
            words += (
                f"\n<engine>Your last answer could not be used: {error}. Answer with the JSON object only.</engine>"
            )
    raise ReviewUnavailable(why)


async def _ask(session: Session, client: ModelClient, words: str) -> str:
    model = session.config.model.name
    message = {"role": "user", "content": [{"type": "text", "text": words}]}
    request = Request(model, [{"type": "text", "text": _SYSTEM}], [], [message], MAX_TOKENS)
    session.doing("the supervisor reviews the search")
    call = client.send(request, spent=lambda usage: session.record(ledger.cost(session, "review", usage, model)))
    reply = await session.guard(call)
    if reply.stop_reason == "refusal":
        raise ModelFault("stop", f"the model declined to review{': ' + reply.refusal if reply.refusal else ''}")
    return reply.text


def parse(text: str) -> Review:
    """The review in a reply; raises ValueError with a sentence when it is not one."""
    found = _OBJECT.search(text)
    if found is None:
        raise ValueError("there is no JSON object in it")
    value = json.loads(found[0])
    if not isinstance(value, dict) or not isinstance(value.get("directions"), list):
        raise ValueError("'directions' must be a list")
    directions = tuple(_direction(d) for d in value["directions"])
    if len(directions) < LEAST:
        raise ValueError(f"it has {len(directions)} directions; at least {LEAST} are needed")
    diagnosis = str(value.get("diagnosis") or "").strip()
    if not diagnosis:
        raise ValueError("'diagnosis' is empty")
    return Review(diagnosis, directions)


def _direction(value: Any) -> ReviewDirection:
    if not isinstance(value, Mapping) or not str(value.get("title") or "").strip():
        raise ValueError("each direction is an object with a title")
    known = value.get("knowledge")
    pages = tuple(str(k) for k in known) if isinstance(known, list) else ()
    title, why, first = (str(value.get(k) or "").strip() for k in ("title", "why", "first_step"))
    return ReviewDirection(title, why, first, pages)
