"""evaluate, profile and submit: what the scorer and the gate say of the workspace, told in words and tables."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from engine.record.errors import Refused
from engine.record.scores import throughput
from engine.session import Evaluation, Submission, ToolResult
from engine.tools import variants
from engine.tools.jobs import Jobs
from engine.tools.tables import score_table
from engine.tools.tool import FunctionTool, parameters

if TYPE_CHECKING:
    from engine.session import Session

LOG_SHOWN = 6000
CONFIGURATIONS = {"type": "array", "maxItems": 100, "items": {"type": "string", "maxLength": 100}}


def tools(jobs: Jobs) -> tuple[FunctionTool, ...]:
    """evaluate, profile, submit. None of them measures while background jobs disturb."""

    async def evaluate(session: Session, arguments: Mapping[str, Any]) -> ToolResult:
        _quiet(jobs)
        if arguments.get("variants"):
            return await variants.evaluate(session, arguments)
        suite, chosen = arguments.get("suite", "quick"), arguments.get("configurations")
        found = await session.evaluate(suite, chosen, hypothesis=arguments.get("hypothesis", ""))
        return _evaluated(session, found)

    async def profile(session: Session, arguments: Mapping[str, Any]) -> ToolResult:
        _quiet(jobs)
        found = await session.profile(arguments.get("configurations"))
        return ToolResult(True, found.text, {"facts": dict(found.facts), "source_hash": found.source_hash}, found.log)

    async def submit(session: Session, arguments: Mapping[str, Any]) -> ToolResult:
        _quiet(jobs)
        return _submitted(session, await session.submit(arguments["message"], arguments.get("hypothesis", "")))

    return (
        FunctionTool(
            "evaluate",
            "Build, check and time the workspace; every evaluation is kept as an attempt. It informs, it does not "
            "commit. suite quick takes seconds and a few configurations, full takes all. The ratios shown compare "
            "with recorded scores; only `submit` compares side by side. With `variants` it measures several candidates "
            "in one call, such as the values of a parameter; where there are several devices, at once.",
            parameters(
                suite={"type": "string", "enum": ["quick", "full"], "default": "quick"},
                configurations=CONFIGURATIONS,
                hypothesis={"type": "string", "maxLength": 4000, "description": "what should move, by how much, why"},
                variants=variants.SCHEMA,
            ),
            evaluate,
        ),
        FunctionTool(
            "profile",
            "Profile the workspace: where the time goes (sampled where the machine allows), the hot loops' code, the "
            "compiler's remarks, hardware counters where there are any, and each configuration beside its roofline.",
            parameters(configurations=CONFIGURATIONS),
            profile,
        ),
        FunctionTool(
            "submit",
            "Ask for a commit. The workspace is scored over every configuration and then measured against the "
            "incumbent side by side, in fresh processes. Committed when it is correct and matches or improves.",
            parameters(
                ("message",),
                message={"type": "string", "minLength": 1, "maxLength": 4000, "description": "what changed and why"},
                hypothesis={"type": "string", "maxLength": 4000},
            ),
            submit,
        ),
    )


def _quiet(jobs: Jobs) -> None:
    if running := jobs.running():
        named = ", ".join(f"{j.id} ({j.command[:40]})" for j in running)
        raise Refused(f"background jobs would disturb the measurement: {named}; wait for them or kill them with `job`")


def _evaluated(session: Session, found: Evaluation) -> ToolResult:
    score = found.score
    figure = f"geomean {throughput(score.geomean_tflops)}" if score.geomean_tflops else f"{score.stage}: {score.reason}"
    outcome = "correct" if score.correct else "NOT correct"
    parts = [f"a{found.attempt}: {outcome}, {figure} ({score.suite} suite, {score.seconds:.1f} s)"]
    if found.earlier:
        parts.append(
            f"the same sources were evaluated before: {', '.join(_outcome(session, n) for n in found.earlier)}"
        )
    parts.append(score_table(score, session.incumbent, session.reader.baselines()))
    if found.paired_ratio is not None:
        parts.append(f"side by side with the incumbent just now (quick suite, a hint): {found.paired_ratio:.3f}x")
    if not score.correct and score.log:
        parts.append(_log_end(session, score.log))
    text = "\n".join(p for p in parts if p)
    data = {**score.to_json(), "attempt": found.attempt, "paired_ratio": found.paired_ratio}
    return ToolResult(True, text, data, found.log)


def _outcome(session: Session, number: int) -> str:
    """An earlier attempt and how it ended."""
    attempt = session.reader.attempt(number)
    if attempt is None:
        return f"a{number}"
    ended = attempt.verdict or (attempt.stage if not attempt.correct else "correct, not submitted")
    ratio = f" {attempt.ratio:.3f}x" if attempt.ratio else ""
    return f"a{number} ({ended}{ratio}, {attempt.name})"


def _submitted(session: Session, found: Submission) -> ToolResult:
    committed = found.version is not None
    word = f"committed as v{found.version}" if committed else "not committed; the workspace still holds it"
    text = f"a{found.attempt}: {found.verdict}, {word}\n{found.reason}"
    score = session.reader.attempt_score(found.attempt)
    if score is not None and found.verdict == "incorrect" and score.log:
        text += f"\n{_log_end(session, score.log)}"
    names = ("attempt", "verdict", "reason", "ratio", "low", "high", "rounds", "version")
    return ToolResult(True, text, {name: getattr(found, name) for name in names})


def _log_end(session: Session, log: str) -> str:
    """The end of a log under the run's folder."""
    path = session.folder.path / log
    if not path.is_file():
        return log[-LOG_SHOWN:]
    return path.read_text("utf-8", "replace")[-LOG_SHOWN:]
