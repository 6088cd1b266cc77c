"""Steering: one command to a run's engine, and its answer.

The command line never changes a run itself: it writes the command, waits a little for the engine's
answer, and passes a refusal on with the engine's reason.
"""

from __future__ import annotations

import sys
import time
from argparse import Namespace
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

from avo_tui.commands.named import handle, print_json, run_of, version_of
from avo_tui.summary import Summaries
from engine.record.commands import DIRECTION_LIMIT, Command, Verb, check_direction, send
from engine.record.errors import Refused, UsageError
from engine.record.reader import Reader
from engine.record.run import RunFolder

POLL_S = 0.05


def steer(arguments: Namespace) -> int:
    """Any command that the engine applies or refuses."""
    folder = run_of(arguments)
    with Summaries(folder) as summaries:
        details = _details(arguments, summaries.reader, folder)
        summary = summaries.take()
        if not summary.engine_alive:
            raise Refused(not_running(folder, summary.state))
        number = send(folder.journal, cast("Verb", arguments.verb), details, issued_seq=summary.last_seq)
        answer = wait_for(summaries.reader, number, 0.0 if arguments.no_wait else arguments.wait)
    return report(folder, answer, as_json=arguments.json)


def not_running(folder: RunFolder, state: str) -> str:
    """Why a command cannot be given to a run without an engine."""
    ended = "has finished" if state == "finished" else "is not running"
    return f"the engine of run {folder.name} {ended}; 'avo resume {handle(folder)}' starts it again"


def _details(arguments: Namespace, reader: Reader, folder: RunFolder) -> Mapping[str, Any]:
    verb = arguments.verb
    if verb == "direct":
        return {"text": check_direction(direction_text(arguments.text))}
    if verb == "rollback":
        return {"version": version_of(reader, folder, arguments.version).version}
    if verb == "acknowledge":
        return {"alert": arguments.alert}
    if verb == "cancel":
        return {"command": arguments.number}
    if verb in ("pin", "veto"):
        return {"direction": arguments.direction}
    if verb == "limits":
        return limits_of(arguments)
    return {}


def limits_of(arguments: Namespace) -> dict[str, float]:
    """The limits that were given on the command line."""
    given = {
        "versions": arguments.versions,
        "minutes": arguments.minutes,
        "attempts": arguments.attempts,
        "usd": arguments.budget_usd,
        "tokens": arguments.tokens,
    }
    chosen = {name: value for name, value in given.items() if value is not None}
    if not chosen and getattr(arguments, "verb", "") == "limits":
        raise UsageError("name a limit: --versions, --minutes, --attempts, --budget-usd or --tokens")
    return chosen


def direction_text(words: list[str]) -> str:
    """The direction: words, standard input for `-`, a file for `@FILE`. Reads no more than can be accepted."""
    if words == ["-"]:
        return sys.stdin.read(DIRECTION_LIMIT * 4)
    if len(words) == 1 and words[0].startswith("@"):
        path = Path(words[0][1:]).expanduser()
        try:
            with path.open(encoding="utf-8") as file:
                return file.read(DIRECTION_LIMIT * 4)
        except OSError as error:
            raise UsageError(f"cannot read the direction from {path}: {error.strerror}") from error
        except UnicodeDecodeError as error:
            raise UsageError(f"{path} is not text in UTF-8; a direction is words") from error
    return " ".join(words)


def wait_for(reader: Reader, number: int, wait_s: float) -> Command:
    """The command as it stands once the engine applied or refused it, or when the wait is over."""
    deadline = time.monotonic() + wait_s
    while True:
        found = next(c for c in reversed(reader.commands(limit=1000)) if c.command == number)
        if found.state in ("applied", "refused") or time.monotonic() >= deadline:
            return found
        time.sleep(POLL_S)


def report(folder: RunFolder, answer: Command, *, as_json: bool) -> int:
    """Print what became of a command; exit code 1 when it was refused."""
    if as_json:
        keys = ("command", "verb", "state", "reason", "person", "at")
        print_json({"run": folder.name, **{k: getattr(answer, k) for k in keys}})
    elif answer.state == "refused":
        raise Refused(f"#{answer.command} {answer.verb} was refused: {answer.reason}")
    elif answer.state == "applied":
        print(f"#{answer.command} {answer.verb}: applied" + (f" ({answer.reason})" if answer.reason else ""))
    else:
        later = f"'avo commands {handle(folder)}' shows what becomes of it"
        print(f"#{answer.command} {answer.verb}: {answer.state}; the engine takes it at its next boundary; {later}")
    return 1 if answer.state == "refused" else 0
