"""Operators: what varies the incumbent. The search loop calls `turn()` between boundaries and knows nothing else.

An operator sees the run only through its Session, so every operator uses the same tools
and every pane is live for all of them. Modules are imported only when named.
"""

from __future__ import annotations

from importlib import import_module
from typing import Protocol

from engine.record.config import RunConfig
from engine.record.errors import ConfigError
from engine.session import Directive, Evaluation, Exhausted, Interrupted, Profile, Session, Submission, ToolResult

__all__ = [
    "Directive",
    "Evaluation",
    "Exhausted",
    "Interrupted",
    "Operator",
    "Profile",
    "Session",
    "Submission",
    "ToolResult",
    "create",
    "names",
    "ready",
]

# name -> "module:factory"; the factory takes the Session and returns the Operator.
_OPERATORS = {
    "playbook": "engine.operators.playbook:create",
    "agent": "engine.operators.agent:create",
    "external": "engine.operators.external:create",
}


class Operator(Protocol):
    """One way to vary the incumbent.

    `turn()` does one piece of work (a direction tried, a model turn) and returns; between turns the
    engine takes commands, pauses, checks limits and lets the supervisor look. It raises `Exhausted`
    when nothing is left to try, and lets `Interrupted` pass after tidying up.
    """

    name: str

    async def turn(self, session: Session) -> None:
        """Do one piece of work."""
        ...


async def ready(name: str, config: RunConfig) -> None:
    """Let an operator say at once, before anything is measured, that it cannot work here (its module's `ready`)."""
    module = _OPERATORS.get(name, "").partition(":")[0]
    if module and (asked := getattr(import_module(module), "ready", None)) is not None:
        await asked(config)


def names() -> tuple[str, ...]:
    """The operators that a configuration can name."""
    return tuple(_OPERATORS)


def create(name: str, session: Session) -> Operator:
    """The operator called `name`. `module:factory` names one of your own that is importable."""
    target = name if ":" in name else _OPERATORS.get(name)
    if target is None:
        raise ConfigError(f"unknown operator {name!r}; known: {', '.join(_OPERATORS)}")
    module, _, factory = target.partition(":")
    try:
        operator: Operator = getattr(import_module(module), factory)(session)
    except (ModuleNotFoundError, AttributeError) as error:
        raise ConfigError(f"operator {name!r} cannot be loaded from {target}: {error}") from error
    return operator
