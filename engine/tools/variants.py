"""Variants: several candidates evaluated in one call, told as one table, the best first.

One rule: each is an attempt of its own; a variant that could not be measured is named and costs the others nothing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from engine.record.errors import ScorerError
from engine.record.scores import throughput
from engine.session import Evaluation, ToolResult, Variant

if TYPE_CHECKING:
    from engine.session import Session

MOST = 32
SCHEMA = {
    "type": "array",
    "maxItems": MOST,
    "description": "instead of the workspace's own sources: folders in it, each with all the sources of one variant",
    "items": {
        "type": "object",
        "properties": {
            "folder": {"type": "string", "maxLength": 200, "description": "such as variants/a"},
            "name": {"type": "string", "maxLength": 120, "description": "what differs, in a few words"},
            "hypothesis": {"type": "string", "maxLength": 4000},
            "direction": {"type": "string", "maxLength": 200, "description": "when not the one pursued"},
        },
        "required": ["folder", "name"],
        "additionalProperties": False,
    },
}


async def evaluate(session: Session, arguments: Mapping[str, Any]) -> ToolResult:
    """Evaluate every variant, as many side by side as there are devices."""
    variants = [Variant(**given) for given in arguments["variants"]]
    suite, chosen = arguments.get("suite", "quick"), arguments.get("configurations")
    found = await session.evaluate_all(variants, suite, chosen)
    failed = [f for f in found if isinstance(f, ScorerError)]
    if failed and len(failed) == len(found):
        raise failed[0]
    rows = sorted(zip(variants, found, strict=True), key=_worth, reverse=True)
    text = "\n".join(_line(variant, result) for variant, result in rows)
    width = f"{session.width} side by side" if session.width > 1 else "one after another"
    head = f"{len(rows)} variants, {suite} suite, {width}; x is beside the incumbent, a hint"
    return ToolResult(
        True, f"{head}\n{text}", {"variants": [_data(v, f) for v, f in zip(variants, found, strict=True)]}
    )


def _worth(row: tuple[Variant, Evaluation | ScorerError]) -> tuple[float, float]:
    _, found = row
    if isinstance(found, ScorerError):
        return (-2.0, 0.0)
    if not found.score.correct:
        return (-1.0, 0.0)
    return (found.paired_ratio or 0.0, found.score.geomean_tflops or 0.0)


def _line(variant: Variant, found: Evaluation | ScorerError) -> str:
    named = f"{variant.folder}  {variant.name}"
    if isinstance(found, ScorerError):
        return f"{named}: not measured, the scorer failed (not the candidate): {found}"
    score = found.score
    if not score.correct:
        return f"{named}: a{found.attempt} NOT correct, {score.stage}: {score.reason}"
    ratio = f"{found.paired_ratio:.3f}x, " if found.paired_ratio is not None else ""
    return f"{named}: a{found.attempt} {ratio}{throughput(score.geomean_tflops)}"


def _data(variant: Variant, found: Evaluation | ScorerError) -> dict[str, Any]:
    if isinstance(found, ScorerError):
        return {"folder": variant.folder, "error": str(found)}
    score = found.score.to_json()
    return {"folder": variant.folder, "attempt": found.attempt, "paired_ratio": found.paired_ratio, "score": score}


def folders(count: int) -> Sequence[str]:
    """Where an operator of our own puts its variants."""
    return [f"variants/{n}" for n in range(count)]
