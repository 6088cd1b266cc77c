"""What a person's words ask of the playbook: directions by id, title or keyword, and parameters by name and value.

Pure. Words that it cannot follow get a reason and what it could do instead.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from engine.operators.playbook.catalogue import Catalogue, Direction
from engine.record.frozen import dataclass

_SETTING = re.compile(r"\b(k[A-Z]\w*)\s*(?:=|:|\bto\b|\bof\b)\s*(-?\d+(?:\.\d+)?f?|true|false)\b")
_NEGATION = re.compile(r"\b(don't|do not|dont|never|avoid|stop|without|no more|not)\b", re.IGNORECASE)
_WORD = re.compile(r"[a-z0-9][a-z0-9.+\-]*")
_EMPTY = frozenset(
    _WORD.findall(
        "a an and are as at be but by can could do for from have how i if in into is it its let me my of on or please "
        "should so some that the their them then there these this to try use using want we what when where which with "
        "would you your make more less all one first now next go faster kernel attention"
    )
)
ENOUGH = 2.0


@dataclass(frozen=True, slots=True)
class Wish:
    """What was understood: settings, or directions with the best match first; else why nothing was."""

    settings: tuple[tuple[str, str], ...] = ()
    directions: tuple[Direction, ...] = ()
    reason: str = ""


def understand(text: str, catalogue: Catalogue, parameters: Mapping[str, str]) -> Wish:
    """Read a person's direction. Settings count before words; a negation is not obeyed by doing the thing."""
    if settings := tuple(dict(_SETTING.findall(text)).items()):
        return _settings(settings, parameters)
    named = [d for d in catalogue.directions if re.search(rf"(?<![\w-]){re.escape(d.id)}(?![\w-])", text.lower())]
    found = named or _matching(text, catalogue)
    if found and _NEGATION.search(text):
        return Wish(reason=f"I read this as something not to do; to forbid it, veto the direction {found[0].id}")
    if found:
        return Wish(directions=tuple(found))
    return Wish(reason=f"nothing in the playbook matches these words; it knows: {_known(catalogue)}")


def _settings(settings: tuple[tuple[str, str], ...], parameters: Mapping[str, str]) -> Wish:
    for name, _ in settings:
        if name not in parameters:
            has = ", ".join(f"{k} = {v}" for k, v in sorted(parameters.items())) or "none"
            return Wish(reason=f"the incumbent has no parameter {name}; it has: {has}")
    fresh = tuple((name, value) for name, value in settings if parameters[name] != value)
    if not fresh:
        return Wish(reason="the incumbent has these values already")
    return Wish(settings=fresh)


def _matching(text: str, catalogue: Catalogue) -> list[Direction]:
    words = {w.strip(".-") for w in _WORD.findall(text.lower())} - _EMPTY
    flat = f" {' '.join(_WORD.findall(text.lower()))} "
    scored = [(_score(d, words, flat), d) for d in catalogue.directions]
    return [d for score, d in sorted(scored, key=lambda pair: -pair[0]) if score >= ENOUGH]


def _score(direction: Direction, words: set[str], flat: str) -> float:
    """Two for each keyword, one for each word of the title or id beyond those."""
    hits = {k for k in direction.keywords if k in words or (" " in k and f" {k} " in flat)}
    title = set(_WORD.findall(direction.title.lower())) | set(direction.id.split("-"))
    return 2.0 * len(hits) + len((title & words) - hits - _EMPTY)


def _known(catalogue: Catalogue) -> str:
    return ", ".join(d.id for d in catalogue.directions)
