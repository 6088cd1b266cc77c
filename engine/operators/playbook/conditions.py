"""Conditions on facts: `machine.cores >= 2`, `profile.calls_libm_exp == true`, `problem.group > 1`.

One comparison each. A fact that nobody knows makes a condition neither true nor false, and says so.
"""

from __future__ import annotations

import operator
import re
from collections.abc import Callable, Mapping
from typing import Any

from engine.record.frozen import dataclass

_TEXT = re.compile(r"^\s*(?P<fact>[A-Za-z_][\w.\-]*)\s*(?P<op>==|!=|<=|>=|<|>)\s*(?P<value>.+?)\s*$")
_OPERATORS: dict[str, Callable[[Any, Any], bool]] = {
    "==": operator.eq,
    "!=": operator.ne,
    "<=": operator.le,
    ">=": operator.ge,
    "<": operator.lt,
    ">": operator.gt,
}

Value = bool | float | str


@dataclass(frozen=True, slots=True)
class Condition:
    """A fact compared with a value. `text` is how the person wrote it."""

    fact: str
    op: str
    value: Value
    text: str


@dataclass(frozen=True, slots=True)
class Truth:
    """Whether a condition holds (None: the fact is unknown), and what was found, in words."""

    holds: bool | None
    found: str


def parse(text: str) -> Condition | None:
    """The condition that `text` writes, or None when it is not one comparison."""
    match = _TEXT.match(text)
    if match is None:
        return None
    value = value_of(match["value"])
    if not isinstance(value, float) and match["op"] not in {"==", "!="}:
        return None
    return Condition(match["fact"], match["op"], value, " ".join(text.split()))


def value_of(text: str) -> Value:
    """A literal: true, false, a number, or a word (quotes are taken off)."""
    if text in {"true", "false"}:
        return text == "true"
    try:
        return float(text)
    except ValueError:
        return text.strip("\"'")


def check(condition: Condition, facts: Mapping[str, Any]) -> Truth:
    """Compare with the facts. Numbers compare with numbers only, so a wrong kind is unknown."""
    found = facts.get(condition.fact)
    if found is None:
        return Truth(None, f"{condition.fact} is not known")
    words = f"{condition.fact} is {show(found)}"
    value = float(found) if isinstance(found, int) and not isinstance(found, bool) else found
    if type(value) is not type(condition.value):
        return Truth(None, f"{words}, which does not compare with {show(condition.value)}")
    return Truth(_OPERATORS[condition.op](value, condition.value), words)


def show(value: Any) -> str:
    """A fact's value as a person reads it."""
    if isinstance(value, bool):
        return "true" if value else "false"
    return f"{value:.3g}" if isinstance(value, float) else str(value)
