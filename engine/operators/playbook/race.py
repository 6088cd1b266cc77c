"""The race: moves of the parameter search measured side by side, where there are several devices to do so.

One rule: a race only informs, as `evaluate` does; whoever promises in it goes to the gate alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from engine.operators.playbook import edits
from engine.operators.playbook import words as say
from engine.operators.playbook.memory import compare
from engine.record import events as ev
from engine.record.reader import Version
from engine.record.scores import Score
from engine.session import Session
from engine.tools.variants import folders

if TYPE_CHECKING:
    from engine.operators.playbook.operator import Try


async def measure(
    session: Session, tries: Sequence[Try], sources: edits.Sources, incumbent: Version
) -> list[tuple[Try, float]]:
    """Evaluate every try as a variant. Returns those worth the gate, the best first; the rest is concluded."""
    placed = list(zip(folders(len(tries)), tries, strict=True))
    session.say(f"{len(tries)} moves side by side: {'; '.join(t.title for t in tries)}.")
    for folder, one in placed:
        for name, text in (edits.apply(sources, one.edits).sources or {}).items():
            await session.call("write", {"path": f"{folder}/{name}", "content": text})
    variants = [
        {"folder": folder, "name": t.title, "hypothesis": t.hypothesis, "direction": t.id} for folder, t in placed
    ]
    result = await session.call("evaluate", {"suite": "quick", "variants": variants})
    if not result.ok:
        session.say(f"No measurement of {len(tries)} moves: {result.text}")
        return []
    worth = [(t, _ratio(session, t, found, incumbent)) for t, found in zip(tries, result.data["variants"], strict=True)]
    return sorted(((t, r) for t, r in worth if r is not None), key=lambda pair: -pair[1])


def _ratio(session: Session, one: Try, found: dict[str, Any], incumbent: Version) -> float | None:
    """How a try did beside the incumbent, when that is worth the gate; else it is concluded, and None."""
    if "error" in found:
        _conclude(session, one, "skipped", found["error"])
        return None
    score = Score.from_json(found["score"])
    if not score.correct:
        _conclude(session, one, "incorrect", say.incorrect(one.title, score))
        return None
    ratio: float = found["paired_ratio"] or compare(score, incumbent.score) or 0.0
    if ratio >= one.enough:
        return ratio
    _conclude(session, one, "regressed", say.regressed(one.title, ratio, incumbent.version, score))
    return None


def overtaken(session: Session, tries: Sequence[Try], winner: int) -> None:
    """Conclude those that promised, too, when another was committed before them."""
    for one in tries:
        _conclude(session, one, "skipped", f"v{winner} came first; on it this is another candidate")


def _conclude(session: Session, one: Try, state: str, why: str) -> None:
    session.record(ev.DirectionChanged(one.id, one.title, one.source, state, why, session.turn))
    session.say(why)
