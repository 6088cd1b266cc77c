"""shell and job: commands in the workspace, in the sandbox, with the engine's secrets out of reach."""

from __future__ import annotations

import signal
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from engine.session import ToolResult
from engine.tools.jobs import FILE_LIMIT_BYTES, SHOWN_BYTES, Job, Jobs, Launch, printed, shorten
from engine.tools.tool import FunctionTool, parameters

if TYPE_CHECKING:
    from engine.session import Session

DEFAULT_TIMEOUT_S = 120
MOST_TIMEOUT_S = 1800
MOST_WAIT_S = 600


@dataclass(slots=True)
class Shell(FunctionTool):
    """The shell tool; the jobs that it started are the `job` tool's too."""

    jobs: Jobs


def tools(jobs: Jobs) -> tuple[FunctionTool, ...]:
    """shell and job, sharing their jobs."""

    async def shell(session: Session, arguments: Mapping[str, Any]) -> ToolResult:
        return await _shell(session, jobs, arguments)

    async def job(session: Session, arguments: Mapping[str, Any]) -> ToolResult:
        return await _job(session, jobs, arguments)

    return (
        Shell(
            "shell",
            "Run a bash command in the workspace. It is confined: only the workspace is writable, there is no network "
            "unless the run allows it, and the scorer, the lineage and the journal are out of sight. Output over "
            "16,000 characters keeps its head and tail; the whole of it lies in the log named in the answer (read it "
            "with `read`). With background=true it answers at once with a job's id for the `job` tool. Everything the "
            "command started is ended when it ends.",
            parameters(
                ("command",),
                command={"type": "string", "minLength": 1, "maxLength": 50_000, "description": "for bash -c"},
                timeout_s={"type": "integer", "minimum": 1, "maximum": MOST_TIMEOUT_S, "default": DEFAULT_TIMEOUT_S},
                background={"type": "boolean", "default": False},
            ),
            shell,
            jobs,
        ),
        FunctionTool(
            "job",
            "A background job of `shell`: wait for its end (at most wait_s seconds), see the tail of its output, or "
            "kill it. Scores are not taken while jobs run, because they would disturb the measurement.",
            parameters(
                ("id", "action"),
                id={"type": "string"},
                action={"type": "string", "enum": ["wait", "tail", "kill"]},
                wait_s={"type": "integer", "minimum": 1, "maximum": MOST_WAIT_S, "default": 60},
            ),
            job,
        ),
    )


async def _shell(session: Session, jobs: Jobs, arguments: Mapping[str, Any]) -> ToolResult:
    command = arguments["command"]
    log = session.artifact("shell.log")
    job = await jobs.start(confined(session, ["bash", "-c", command]), command, log)
    if arguments.get("background", False):
        return ToolResult(True, f"job {job.id} is running", {"job": job.id}, _log_name(session, job))
    timeout_s = arguments.get("timeout_s", DEFAULT_TIMEOUT_S)
    try:
        in_time = await job.wait(timeout_s, session.output)
    finally:
        await job.kill()
        jobs.forget(job)
    return _ended(session, job, "" if in_time else f"ended after its {timeout_s} s; ")


async def _job(session: Session, jobs: Jobs, arguments: Mapping[str, Any]) -> ToolResult:
    job, action = jobs.get(arguments["id"]), arguments["action"]
    if action == "kill":
        await job.kill()
    elif action == "wait":
        await job.wait(arguments.get("wait_s", 60), session.output)
    if job.status is not None:
        return _ended(session, job, "killed; " if action == "kill" else "")
    text = f"job {job.id} has been running for {job.seconds:.0f} s\n{printed(job.log)}"
    return ToolResult(True, text, {"job": job.id, "running": True}, _log_name(session, job))


def _ended(session: Session, job: Job, how: str) -> ToolResult:
    name = _log_name(session, job)
    if job.full:
        how += f"{job.full}: delete what is not needed; "
    text = f"{how}{_status(job.status)} after {job.seconds:.1f} s\n{printed(job.log)}".rstrip()
    if job.log.stat().st_size > SHOWN_BYTES:
        text += f"\n(whole log: {name})"
        shorten(job.log)
    return ToolResult(job.status == 0 and not how, text, {"exit": job.status, "seconds": job.seconds}, name)


def _status(status: int | None) -> str:
    """How a command ended, in words."""
    if status is None or status <= 128 or status > 128 + signal.NSIG:
        return f"exit {status}"
    if status == 128 + signal.SIGXFSZ:
        return f"ended because a file passed {FILE_LIMIT_BYTES // 2**20} MB,"
    return f"ended by {signal.Signals(status - 128).name}"


def _log_name(session: Session, job: Job) -> str:
    return str(job.log.relative_to(session.folder.path))


def confined(session: Session, argv: list[str]) -> Launch:
    """The command inside the sandbox that the run's scorer uses too. Raises Refused when there is none."""
    from engine.scorer import sandbox

    chosen = sandbox.choose(unsafe=session.config.scorer.unsafe_no_sandbox)
    inside = sandbox.confine(chosen, argv, writable=session.workspace, network=session.config.network)
    return Launch(inside.argv, inside.env, inside.pass_fds, session.workspace)
