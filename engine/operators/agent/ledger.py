"""Money and limits as the agent sees them: what a call cost, whether another may be made, what to warn of."""

from __future__ import annotations

from engine import budget
from engine.operators.agent import prices
from engine.operators.agent.reply import Usage
from engine.record import events as ev
from engine.record.config import Limits
from engine.session import Session


def spend(session: Session, what: str, usage: Usage, model: str) -> None:
    """Enter one model call into the journal; the budget reads it from there."""
    fact = ev.Spent(
        what,
        usage.input_tokens,
        usage.output_tokens,
        usage.cache_read_tokens,
        usage.cache_write_tokens,
        prices.usd(usage, model, session.config.prices),
        model,
    )
    session.record(fact)


def exhausted(session: Session) -> str | None:
    """Which limit is reached, in words; None while another call may be made."""
    return budget.reached(_limits(session), _usage(session))


def notices(session: Session, told: set[str]) -> list[str]:
    """Sentences on limits nearly used up that were not told before; adds them to `told`."""
    found = [text for text in budget.warnings(_limits(session), _usage(session)) if text not in told]
    told.update(found)
    return found


def _limits(session: Session) -> Limits:
    return budget.current(session.config.limits, session.reader.meta("limits"))


def _usage(session: Session) -> budget.Usage:
    return budget.usage(session.reader, float(session.reader.meta("elapsed_s") or 0.0))
