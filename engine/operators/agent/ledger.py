"""Money and limits as the agent sees them: what a call cost, whether another may be made, what to warn of."""

from __future__ import annotations

from dataclasses import dataclass

from engine import budget
from engine.operators.agent import prices
from engine.operators.agent.reply import Usage
from engine.record import events as ev
from engine.record.config import Limits
from engine.record.errors import OperatorError
from engine.session import Session

UNCACHED_REPLIES, UNCACHED_TOKENS = 3, 20_000


def cost(session: Session, what: str, usage: Usage, model: str) -> ev.Spent:
    """The fact of one model call; the budget reads it from the journal."""
    return ev.Spent(
        what,
        usage.input_tokens,
        usage.output_tokens,
        usage.cache_read_tokens,
        usage.cache_write_tokens,
        prices.usd(usage, model, session.config.prices),
        model,
    )


def exhausted(session: Session) -> str | None:
    """Which limit is reached, in words; None while another call may be made."""
    return budget.reached(_limits(session), _usage(session))


def require_price(session: Session, model: str) -> None:
    """Refuse to spend under a limit in USD with a model whose price is unknown: such a limit would never be reached."""
    usd = _limits(session).usd
    if usd is not None and prices.usd(Usage(), model, session.config.prices) is None:
        raise OperatorError(
            f"the limit of ${usd:g} cannot be kept: the price of {model!r} is unknown; give it in config.toml "
            f'([prices."{model}"]), or limit tokens (--tokens) instead'
        )


@dataclass(slots=True)
class CacheWatch:
    """Notices replies whose long prompts were read anew, at full price, instead of from the cache."""

    missed: int = 0

    def look(self, usage: Usage) -> str | None:
        """A warning when it has just happened three times in a row."""
        prompt = usage.context_tokens - usage.output_tokens
        self.missed = self.missed + 1 if prompt > UNCACHED_TOKENS and not usage.cache_read_tokens else 0
        if self.missed != UNCACHED_REPLIES:
            return None
        return (
            f"{UNCACHED_REPLIES} replies in a row read nothing from the prompt cache (the last had {prompt:,} tokens): "
            "the server does not cache, or something changes what the conversation begins with"
        )


def notices(session: Session, told: set[str]) -> list[str]:
    """Sentences on limits nearly used up that were not told before; adds them to `told`."""
    found = [text for text in budget.warnings(_limits(session), _usage(session)) if text not in told]
    told.update(found)
    return found


def _limits(session: Session) -> Limits:
    return budget.current(session.config.limits, session.reader.meta("limits"))


def _usage(session: Session) -> budget.Usage:
    return budget.usage(session.reader, float(session.reader.meta("elapsed_s") or 0.0))
