"""Starting and joining runs: run, attach, resume."""

from __future__ import annotations

import math
import os
import sys
import tomllib
from argparse import Namespace
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from avo_tui import launch
from avo_tui.commands import service
from avo_tui.commands.look import status_text
from avo_tui.commands.named import handle, print_json, problem_of, run_and_version, run_of
from avo_tui.commands.steer import limits_of, report, wait_for
from avo_tui.follow import follow
from avo_tui.plain import HINT, Listener
from avo_tui.presence import Presence
from avo_tui.summary import Summaries, Summary
from engine.record.commands import send
from engine.record.config import RunConfig, ScorerConfig, from_table, load
from engine.record.errors import AvoError, ConfigError, Refused, UsageError
from engine.record.run import RunFolder, runs_directory

if TYPE_CHECKING:
    from engine.scorer.problem import Problem

DEFAULT_PROBLEM = "mha_cpu"
JOINED = 20  # events that are told to whoever joins later
KEYS = ("ANTHROPIC_API_KEY", "ANTHROPIC_AUTH_TOKEN")


def run(arguments: Namespace) -> int:
    """`avo run`: start a run; in a terminal open the control room on it, else print its progress."""
    problem = _problem(arguments)
    config = _config(arguments, problem)
    launch.require(_language(config, problem))
    folder = launch.prepare(runs_directory(arguments.runs), config, arguments.name)
    started = launch.start(folder)
    by = f"{config.problem} by {config.operator}, engine {started.pid}"
    print(f"run {folder.name}: {by}, in {folder.path}", flush=True)
    if arguments.detach:
        print(f"watch it with 'avo attach {handle(folder)}', stop it with 'avo stop {handle(folder)}'")
        return 0
    if arguments.plain:
        return _plain(folder, readonly=False, started=started)
    if arguments.headless or not in_terminal():
        return follow(folder, started=started)
    if _has_room(arguments):
        return _room(folder, readonly=False)
    return _plain(folder, readonly=False, started=started)


def attach(arguments: Namespace) -> int:
    """`avo attach`: the control room on a run, or its lines with --plain."""
    folder = run_of(arguments)
    Summaries(folder).close()
    if not arguments.plain and not in_terminal():
        raise UsageError(f"this is not a terminal; 'avo attach {handle(folder)} --plain' prints lines instead")
    if _has_room(arguments):
        return _room(folder, readonly=arguments.readonly)
    return _plain(folder, readonly=arguments.readonly)


def resume(arguments: Namespace) -> int:
    """`avo resume`: unpause a living run, or start a dead one's engine again where it stood."""
    folder = run_of(arguments)
    limits = limits_of(arguments)
    with Summaries(folder) as summaries:
        before = summaries.take()
        if before.engine_alive:
            if limits:
                number = send(folder.journal, "limits", limits, issued_seq=before.last_seq)
                wait_for(summaries.reader, number, arguments.wait)
            number = send(folder.journal, "resume", issued_seq=before.last_seq)
            answer = wait_for(summaries.reader, number, 0.0 if arguments.no_wait else arguments.wait)
            return report(folder, answer, as_json=arguments.json)
        _at_its_limit(folder, before, limits)
        _again(folder, summaries, limits)
    config = load(folder.config)
    launch.require(_language(config, problem_of(config.problem_path)))
    pid = launch.start(folder).pid
    kept = service.wake(folder)
    if arguments.json:
        print_json({"run": folder.name, "started": True, "pid": pid, "service": kept})
    else:
        by = ", kept by its service" if kept else ""
        print(f"run {folder.name} goes on, engine {pid}{by}; watch it with 'avo attach {handle(folder)}'")
    return 0


def _at_its_limit(folder: RunFolder, before: Summary, given: dict[str, float]) -> None:
    """Refuse to start an engine that would find its limit used up and end at once, unless a limit was given."""
    spent = {"minutes": before.elapsed_s / 60, "versions": len(before.versions) - 1, "attempts": before.attempts - 1}
    for name, used in spent.items():
        limit = getattr(before.limits, name)
        if limit is not None and used >= limit and not given and before.state == "finished":
            wider = f"'avo resume {handle(folder)} --{name} {math.ceil(2 * limit)}'"
            raise Refused(f"run {folder.name} has used its limit of {limit:g} {name}; {wider} goes on")


def _again(folder: RunFolder, summaries: Summaries, limits: dict[str, float]) -> None:
    """Prepare a run without an engine for the next one: new limits, and no pause from before."""
    if limits:
        send(folder.journal, "limits", limits, issued_seq=summaries.reader.last_seq())
    engine = summaries.reader.engine()
    if engine is not None and engine.state == "paused":
        send(folder.journal, "resume", issued_seq=summaries.reader.last_seq())


def _language(config: RunConfig, problem: Problem) -> str | None:
    """What must be compiled on this machine: nothing when another one scores."""
    elsewhere = config.scorer.command or config.scorer.spool or config.scorer.ray
    return None if elsewhere else problem.language


def _problem(arguments: Namespace) -> Problem:
    if arguments.problem and arguments.problem_path:
        raise UsageError(f"two problems are named, {arguments.problem} and {arguments.problem_path}; name one")
    return problem_of(arguments.problem_path or arguments.problem or DEFAULT_PROBLEM)


def _config(arguments: Namespace, problem: Problem) -> RunConfig:
    """The run's configuration: --config's file, with what was given on the command line over it."""
    base = _table(arguments.config)
    base |= {"problem": problem.name, "problem_path": str(problem.folder)}
    config = from_table(RunConfig, base, arguments.config or "the command line")
    operator = arguments.operator or ("operator" in base and config.operator) or default_operator()
    config = replace(
        config,
        operator=operator,
        seed=_seed(arguments.seed) or config.seed,
        from_version=_from(arguments) or config.from_version,
        network=arguments.network or config.network,
        limits=replace(config.limits, **limits_of(arguments)),  # type: ignore[arg-type]
        scorer=_scorer(arguments, config.scorer),
        model=replace(
            config.model,
            name=arguments.model or config.model.name,
            base_url=arguments.base_url or config.model.base_url,
        ),
    )
    if config.seed and config.from_version:
        raise UsageError("--seed and --from both name the seed; give one")
    _served_at(config.model.base_url)
    if operator == "agent" and not (has_key() or config.model.base_url or has_profile()):
        raise UsageError(f"the agent needs {KEYS[0]} in the environment; '--operator playbook' needs no key")
    return config


def _served_at(url: str) -> None:
    """Refuse an address that nothing can ever answer at; the engine would wait for it as for a lost connection."""
    try:
        parts = urlsplit(url)
        good = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        good = False
    if url and not good:
        raise UsageError(f"--base-url {url}: give the server's whole address, such as http://127.0.0.1:8080")


def _scorer(arguments: Namespace, base: ScorerConfig) -> ScorerConfig:
    """How candidates are scored: the base, with what was given over it."""
    name, _, address = (arguments.scorer or "").partition("=")
    if name not in ("", "ray"):
        raise UsageError(
            f"--scorer {arguments.scorer}: there is 'ray' or 'ray=ADDRESS'; without it this machine scores"
        )
    if name and arguments.device:
        raise UsageError("--scorer ray and --device exclude each other; the cluster knows its devices itself")
    return replace(
        base,
        devices=tuple(arguments.device) or (() if name else base.devices),
        ray=(address or "auto") if name else ("" if arguments.device else base.ray),
        threads=arguments.threads or base.threads,
        unsafe_no_sandbox=arguments.unsafe_no_sandbox or base.unsafe_no_sandbox,
    )


def _table(path: str | None) -> dict[str, Any]:
    if path is None:
        return {}
    try:
        return tomllib.loads(Path(path).read_text("utf-8"))
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror}; --config names a config.toml to begin from") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: {error}") from error


def has_key() -> bool:
    """Whether an API key is in the environment. Its value is never looked at."""
    return any(os.environ.get(name) for name in KEYS)


def has_profile() -> bool:
    """Whether the SDK's own profiles exist; which of them serves is the SDK's business."""
    named = os.environ.get("ANTHROPIC_PROFILE") or os.environ.get("ANTHROPIC_FEDERATION_RULE_ID")
    folder = os.environ.get("ANTHROPIC_CONFIG_DIR") or "~/.config/anthropic"
    return bool(named) or Path(folder).expanduser().is_dir()


def default_operator() -> str:
    """The agent where there is a key for it, else the playbook, which needs none."""
    return "agent" if has_key() else "playbook"


def _seed(path: str | None) -> str:
    if not path:
        return ""
    given = Path(path).expanduser().absolute()
    sources = given.is_file() or (
        given.is_dir() and any(p.is_file() and not p.name.startswith(".") for p in given.iterdir())
    )
    if not sources:
        raise UsageError(f"{path} holds no sources; --seed names a folder of sources or one source file")
    return str(given)


def _from(arguments: Namespace) -> str:
    if not arguments.from_version:
        return ""
    folder, version = run_and_version(arguments.from_version, arguments.runs)
    return f"{folder.path}@v{version.version}"


def in_terminal() -> bool:
    """Whether a person can see and type here."""
    return sys.stdin.isatty() and sys.stdout.isatty()


def no_room() -> str:
    """Why the control room cannot be shown in this terminal, or ""."""
    term = os.environ.get("TERM", "")
    if term in ("", "dumb", "unknown"):
        return f"this terminal (TERM={term or 'unset'}) cannot show the control room"
    return ""


def _has_room(arguments: Namespace) -> bool:
    """Whether the control room is wanted and can be shown; says why when it cannot."""
    if arguments.plain:
        return False
    if reason := no_room():
        print(f"{reason}; here are lines instead", file=sys.stderr)
        return False
    return True


def _room(folder: RunFolder, *, readonly: bool) -> int:
    from avo_tui.attach import main

    code = main(folder, readonly=readonly)
    if code:
        return code
    with suppress(AvoError), Summaries(folder) as summaries:
        if summaries.take().engine_alive:
            print(f"run {folder.name} goes on; 'avo attach {handle(folder)}' comes back to it")
    return code


def _plain(folder: RunFolder, *, readonly: bool, started: launch.Started | None = None) -> int:
    """Lines, and what is typed is obeyed. Whoever joins later is told where the run stands first."""
    after = 0
    with Summaries(folder) as summaries:
        if started is None:
            print(status_text(summaries.take()))
            newest = summaries.reader.tail(JOINED)
            after = newest[0].seq - 1 if newest else 0
    print(HINT, flush=True)
    with Presence(folder.path, how="plain", readonly=readonly):
        return follow(folder, after=after, started=started, listener=Listener(folder, readonly=readonly))
