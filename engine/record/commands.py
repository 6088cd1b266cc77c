"""Commands: what a person asks of a running engine, and each one's life: sent, seen, applied or refused.

A viewer inserts a row; the engine alone moves it on. A command carries the sequence number
that its person was looking at, so that the engine can refuse one that came too late.
"""

from __future__ import annotations

import getpass
import json
import os
import sqlite3
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from engine.record.errors import JournalError, UsageError
from engine.record.frozen import dataclass
from engine.record.journal import connect

Verb = Literal[
    "pause",
    "interrupt",
    "resume",
    "stop",
    "direct",
    "rollback",
    "undo",
    "acknowledge",
    "pin",
    "veto",
    "limits",
    "cancel",
]
DIRECTION_LIMIT = 64_000


@dataclass(frozen=True, slots=True)
class Command:
    """One command and where it stands. `state`: sent, seen, applied, refused."""

    command: int
    at: float
    person: str
    client: str
    verb: str
    arguments: Mapping[str, Any]
    issued_seq: int
    state: str
    state_at: float
    reason: str


def this_person() -> str:
    """The name that a command carries: $AVO_PERSON, else the login name."""
    return os.environ.get("AVO_PERSON") or getpass.getuser()


def check_direction(text: str) -> str:
    """A direction's text, trimmed; refuses an empty one and one over 64,000 characters."""
    text = text.strip()
    if not text:
        raise UsageError("the direction is empty; say in a sentence or two what to try")
    if len(text) > DIRECTION_LIMIT:
        raise UsageError(
            f"the direction is longer than {DIRECTION_LIMIT:,} characters; put the rest in a file and name it"
        )
    return text


def send(
    journal: Path,
    verb: Verb,
    arguments: Mapping[str, Any] | None = None,
    *,
    person: str = "",
    issued_seq: int = 0,
) -> int:
    """Write one command for the engine; returns its number."""
    arguments = dict(arguments or {})
    if verb == "direct":
        arguments["text"] = check_direction(str(arguments.get("text", "")))
    client = f"{os.uname().nodename}:{os.getpid()}"
    row = (
        time.time(),
        person or this_person(),
        client,
        verb,
        json.dumps(arguments),
        issued_seq,
        "sent",
        time.time(),
        "",
    )
    connection = connect(journal, write=True)
    try:
        number = connection.execute(
            "INSERT INTO commands (at, person, client, verb, arguments, issued_seq, state, state_at, reason) "
            "VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
            row,
        ).lastrowid
    except sqlite3.Error as error:
        raise JournalError(f"cannot write {journal}: {error}; the command was not sent") from error
    finally:
        connection.close()
    assert number is not None
    return number


def from_row(row: sqlite3.Row | tuple[Any, ...]) -> Command:
    """A Command from a row of the `commands` table."""
    command, at, person, client, verb, arguments, issued, state, state_at, reason = row
    return Command(command, at, person, client, verb, json.loads(arguments), issued, state, state_at, reason)
