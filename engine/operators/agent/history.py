"""The conversation's log: one JSON Lines file for each epoch under the run's agent/ folder.

One rule: a record is appended before what follows from it happens, and all are on the disk before a
request goes out or a tool runs; nothing is ever edited. The messages that the API sees are derived from
the records. So a killed engine neither loses
a reply nor runs a tool call twice, and every request begins with the bytes of the one before.

Records (`k`): epoch, user, request, assistant, started, result, usage. A reply is written whole, after
its end; `started` before a tool runs, `result` after. A call that was started and has no result was cut
short by a crash: its effects are unknown and it is answered with that, never run again.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import time
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from engine.operators.agent.reply import Reply, clean
from engine.record.errors import OperatorError
from engine.record.frozen import dataclass

UNKNOWN = "Interrupted by a restart of the engine; whether it took effect is unknown. Look before you try again."
NEVER_RAN = "Not executed: the engine restarted before this call began."
_FILE = re.compile(r"epoch-(\d+)\.jsonl\Z")


@dataclass(frozen=True, slots=True)
class Repair:
    """What a load found broken: a torn last line, calls cut short, calls that never ran, or a log beyond repair."""

    torn: bool = False
    cut_short: int = 0
    never_ran: int = 0
    damaged: str = ""


class Damaged(Exception):
    """A record in the middle of the log that cannot be read."""


class History:
    """One run's conversation: the current epoch's messages, and the log they come from."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.epoch = 0
        self.fingerprint = ""
        self.messages: list[dict[str, Any]] = []
        self.model = ""
        self.context_tokens = 0
        self.delivered: set[str] = set()
        self.replies = 0
        self._started: set[str] = set()
        self._stop_reason = ""
        self._fd: int | None = None

    @classmethod
    def load(cls, folder: Path) -> tuple[History, Repair]:
        """The newest epoch as it lies on disk, repaired; an empty history when there is none."""
        history = cls(folder)
        folder.mkdir(mode=0o700, exist_ok=True)
        for number in sorted((int(m[1]) for p in folder.iterdir() if (m := _FILE.match(p.name))), reverse=True):
            history.epoch = number
            try:
                torn = history._replay(history._path())
            except Damaged as damage:
                # What the log cannot say the record can: the next conversation begins from the state card.
                history._forget()
                history.fingerprint = ""
                return history, Repair(damaged=str(damage))
            if history.messages:  # else the engine died before this epoch's opening was written: the one before counts
                history._open()
                return history, history.mend(torn=torn)
        history.epoch = 0
        return history, Repair()

    def close(self) -> None:
        """Close the log."""
        if self._fd is not None:
            os.close(self._fd)
            self._fd = None

    # --- what happened ---------------------------------------------------------------------

    def begin(self, opening: str, *, model: str, fingerprint: str, reason: str) -> None:
        """Start a new epoch that holds nothing but its opening message."""
        self.close()
        self.epoch += 1
        self._open(os.O_TRUNC)
        about = {"k": "epoch", "n": self.epoch, "model": model, "fingerprint": fingerprint, "reason": reason}
        self._write({**about, "opening": clean(opening), "delivered": sorted(self.delivered)})
        _sync_folder(self.folder)

    def user(self, text: str, directives: Iterable[str] = ()) -> None:
        """Add words to the next user message; `directives` names the directions they carry."""
        self._write({"k": "user", "text": clean(text), "directives": list(directives)}, sync=False)

    def request(self, number: int) -> None:
        """A request is about to go out."""
        self._write({"k": "request", "n": number})

    def assistant(self, reply: Reply) -> None:
        """A whole reply."""
        self._write(
            {"k": "assistant", "stop": reply.stop_reason, "id": reply.id, "content": list(reply.content)}, sync=False
        )

    def usage(self, context_tokens: int) -> None:
        """How much of the window is now filled."""
        self._write({"k": "usage", "context": context_tokens}, sync=False)

    def started(self, call: str) -> None:
        """A tool call is about to run."""
        self._write({"k": "started", "id": call})

    def result(self, call: str, text: str, *, error: bool) -> None:
        """A tool call's answer."""
        shown = clean(text).strip() or "(no output)"
        self._write({"k": "result", "id": call, "text": shown, "error": error}, sync=False)

    # --- what is known ---------------------------------------------------------------------

    @property
    def paused(self) -> bool:
        """Whether the last reply asks to be continued unchanged (`pause_turn`)."""
        return self._stop_reason == "pause_turn" and self.messages[-1]["role"] == "assistant"

    @property
    def awaiting_reply(self) -> bool:
        """Whether the conversation ends with the user's words or a reply to continue."""
        return bool(self.messages) and not self.open_calls() and (self.messages[-1]["role"] == "user" or self.paused)

    def open_calls(self) -> list[str]:
        """Ids of tool calls of the last reply that have no result."""
        answered: set[str] = set()
        for message in reversed(self.messages):
            blocks = message["content"]
            if message["role"] == "user":
                answered.update(b["tool_use_id"] for b in blocks if b["type"] == "tool_result")
            else:
                return [b["id"] for b in blocks if b["type"] == "tool_use" and b["id"] not in answered]
        return []

    def pending(self) -> list[dict[str, Any]]:
        """Blocks added since the last reply: what the server has not counted yet."""
        last = self.messages[-1] if self.messages else None
        return list(last["content"]) if last is not None and last["role"] == "user" else []

    # --- the log ---------------------------------------------------------------------------

    def _path(self) -> Path:
        return self.folder / f"epoch-{self.epoch}.jsonl"

    def _open(self, more: int = 0) -> None:
        flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC | more
        try:
            self._fd = os.open(self._path(), flags, 0o600)
        except OSError as error:
            raise OperatorError(f"cannot write {self._path()}: {error.strerror}") from error

    def _write(self, record: dict[str, Any], *, sync: bool = True) -> None:
        assert self._fd is not None, "begin() or load() opens the log"
        line = json.dumps({**record, "at": round(time.time(), 3)}).encode() + b"\n"
        before = os.fstat(self._fd).st_size
        try:
            done = os.write(self._fd, line)
            if done != len(line):
                raise OSError(28, "the disk is full")
            if sync:
                os.fdatasync(self._fd)
        except OSError as error:
            os.ftruncate(self._fd, before)  # half a record in the middle would make the log unreadable
            raise OperatorError(f"cannot write {self._path()}: {error.strerror}; make room and resume") from error
        self._apply(record)

    def _replay(self, path: Path) -> bool:
        data = path.read_bytes()
        whole = data.rfind(b"\n") + 1
        for number, line in enumerate(data[:whole].split(b"\n")[:-1], 1):
            try:
                self._apply(json.loads(line))
            except (ValueError, KeyError, TypeError, IndexError) as error:
                raise Damaged(f"{path}, line {number}: {error}") from error
        if torn := whole < len(data):
            os.truncate(path, whole)
        return torn

    def _apply(self, record: Mapping[str, Any]) -> None:
        getattr(self, f"_on_{record['k']}", lambda _: None)(record)

    def _on_epoch(self, record: Mapping[str, Any]) -> None:
        self._forget()
        self.epoch, self.model, self.fingerprint = record["n"], record["model"], record["fingerprint"]
        self.delivered.update(record["delivered"])
        self._say({"type": "text", "text": record["opening"]})

    def _on_user(self, record: Mapping[str, Any]) -> None:
        self.delivered.update(record["directives"])
        self._say({"type": "text", "text": record["text"]})

    def _on_assistant(self, record: Mapping[str, Any]) -> None:
        self.messages.append({"role": "assistant", "content": record["content"]})
        self._stop_reason = record["stop"]
        self.replies += 1
        self._started.clear()

    def _on_usage(self, record: Mapping[str, Any]) -> None:
        self.context_tokens = record["context"]

    def _on_started(self, record: Mapping[str, Any]) -> None:
        self._started.add(record["id"])

    def _on_result(self, record: Mapping[str, Any]) -> None:
        block = {"type": "tool_result", "tool_use_id": record["id"], "content": record["text"]}
        self._say({**block, "is_error": True} if record["error"] else block)

    def _say(self, block: dict[str, Any]) -> None:
        if self.messages and self.messages[-1]["role"] == "user":
            self.messages[-1]["content"].append(block)
        else:
            self.messages.append({"role": "user", "content": [block]})

    def _forget(self) -> None:
        self.messages, self.context_tokens, self._stop_reason, self.replies = [], 0, "", 0
        self._started = set()

    def mend(self, *, torn: bool = False) -> Repair:
        """Answer every open call: of one that was started nobody knows what it did, the others never ran."""
        cut_short = never_ran = 0
        for call in self.open_calls():
            started = call in self._started
            cut_short, never_ran = cut_short + started, never_ran + (not started)
            self.result(call, UNKNOWN if started else NEVER_RAN, error=True)
        return Repair(torn, cut_short, never_ran)


def fingerprint(system: Sequence[Mapping[str, Any]], tools: Sequence[Mapping[str, Any]], model: str) -> str:
    """Names the prefix that an epoch was begun with; with another one its thinking is no longer valid."""
    text = json.dumps([model, list(system), list(tools)], ensure_ascii=True)
    return hashlib.sha256(text.encode()).hexdigest()[:24]


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
