"""The operator `agent`: a frontier model on the Messages API as the variation operator (paper, section 3).

loop          one turn, and what becomes of every way it can fail
conversation  what a request consists of, in epochs; card: what opens one, window: when a new one is due
history       the append-only log that messages are derived from
client        one request, one whole reply or one fault; reply, faults: what they are; wire: a request's bytes; sdk
patience      waits in view, and how often to ask again; calls: the tool calls of a reply
ledger        what a call cost and whether another may be made; prices: the table
review        the supervisor's second opinion, in a conversation of its own; digest: what it is given
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from engine.operators.agent.loop import Agent
    from engine.record.config import RunConfig
    from engine.session import Session


def create(session: Session) -> Agent:
    """The operator, on the run's conversation as it was left."""
    from engine.operators.agent.loop import Agent

    return Agent(session)


async def ready(config: RunConfig) -> None:
    """Raise OperatorError when there is no key, or the server does not take it; nothing else is asked yet."""
    from engine.operators.agent.client import ModelClient
    from engine.operators.agent.faults import ModelFault
    from engine.record.errors import OperatorError

    client = ModelClient(config.model)
    try:
        await client.prove()
    except ModelFault as fault:
        raise OperatorError(str(fault)) from fault
    finally:
        await client.close()
