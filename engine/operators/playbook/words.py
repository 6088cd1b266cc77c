"""How the playbook tells what it does: plain sentences with the figures that they rest on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from engine.operators.playbook.choose import Assessment
from engine.operators.playbook.memory import Trial
from engine.operators.playbook.sweep import Move
from engine.record.events import clip
from engine.record.scores import Score, unit_of

RIVALS = 3
BRIEF = 160
PATIENT = "nothing else is left, and no gate ever gave a plain verdict on it: it goes there whatever a glance says"


def choice(best: Assessment, rest: Sequence[Assessment], *, wanted: bool) -> str:
    """Why this direction comes next."""
    first = "the supervisor asked for it" if wanted else f"it promises most for its effort ({_worth(best)})"
    others = ", ".join(f"{a.direction.id} ({_worth(a)})" for a in rest[:RIVALS])
    seen = "; ".join(best.evidence)
    return f"{first}: {seen}" + (f". Behind it: {others}" if others else ". Nothing else is possible now")


def _worth(assessment: Assessment) -> str:
    effort = assessment.direction.effort
    return f"+{assessment.gain:.0%}" + (f" for effort {effort:g}" if effort != 1 else "")


def move(move: Move, moves: int) -> str:
    """Why a parameter move comes next."""
    return (
        "no direction of the catalogue is left that could pay here, so the search goes on around the incumbent's "
        f"parameters (move {moves + 1}, {len(move.settings)} at a time)"
    )


def opening(title: str, why: str, hypothesis: str) -> str:
    """What is tried now."""
    return f"Next: {title}.\nWhy now: {why}.\nHypothesis: {hypothesis}"


def incorrect(title: str, score: Score) -> str:
    """A candidate that failed, at which stage."""
    stages = {"build": "does not compile", "check": "gives wrong numbers", "crash": "crashes", "timeout": "hangs"}
    worst = [c.name for c in score.configurations if not c.correct][:3]
    where = f" in {', '.join(worst)}" if worst else ""
    return (
        f"{title} {stages.get(score.stage, 'fails at ' + score.stage)}{where} ({clip(score.reason, BRIEF)}): it is out"
    )


def regressed(title: str, ratio: float, version: int, score: Score) -> str:
    """A candidate that is right and slower, or not faster enough to be worth the gate."""
    scale, unit = unit_of(c.tflops for c in score.configurations)
    figures = ", ".join(f"{c.name} {c.tflops / scale:.3g}" for c in score.configurations if c.tflops)
    return f"{title} does not pay here: {ratio:.3f}x of v{version} in the quick suite ({figures} {unit})"


def promising(ratio: float, version: int, *, paired: bool) -> str:
    """Why a candidate goes to the gate."""
    how = "side by side with" if paired else "by the recorded score of"
    return f"Correct, and {ratio:.3f}x {how} v{version} in the quick suite; the gate shall judge it over all."


def refused(title: str, data: Mapping[str, Any], version: int) -> str:
    """The gate said no."""
    return f"Learned: {title} is {data.get('verdict')} against v{version}{_span(data)}. {data.get('reason', '')}"


def committed(title: str, data: Mapping[str, Any], version: int) -> str:
    """The gate said yes."""
    verdict = "improves" if data.get("verdict") == "improved" else "matches"
    return f"Learned: {title} {verdict} v{version}{_span(data)}; it is v{data.get('version')} now."


def outcome(trial: Trial) -> str:
    """What became of a trial."""
    ratio = trial.ratio or trial.seen
    return f"{trial.outcome or 'unfinished'}" + (f" at {ratio:.3f}x of v{trial.parent}" if ratio else "")


def _span(data: Mapping[str, Any]) -> str:
    ratio, low, high = data.get("ratio"), data.get("low"), data.get("high")
    if ratio is None:
        return ""
    return f" at {ratio:.3f}x" + (f" ({low:.3f} to {high:.3f})" if low is not None and high is not None else "")
