"""Build and profile output: one block for every log, the newest below, and what is being written now."""

from __future__ import annotations

import errno
import gzip
import os
import zlib
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

from avo_tui.model import show
from avo_tui.model.lines import Line, brief, clean, one_line
from avo_tui.model.transcript import Block, fact
from engine.record import events as ev
from engine.record.reader import Entry
from engine.record.run import RunFolder

LOG_BYTES = 64_000
_TOOLS = {"shell", "job", "evaluate", "profile", "submit"}


def output_blocks(entries: Iterable[Entry]) -> list[Block]:
    """Blocks for scored attempts, profiles and tools that wrote a log."""
    found: list[Block] = []
    for entry in entries:
        block = output_block(entry)
        if block is not None:
            found.append(block)
    return found


def output_block(entry: Entry) -> Block | None:
    """An event's output, or None when it has none."""
    if entry.kind not in ("attempt", "profile", "tool_finished"):
        return None
    event = fact(entry.kind, entry.data)
    block: Block | None = None
    if isinstance(event, ev.AttemptScored):
        block = _attempt(event)
    elif isinstance(event, ev.Profiled):
        block = Block(0, 0.0, "", head=(("profile ", "tool"), (event.source_hash[:10], "dim")), words=brief(event.text),
                      role="", log=event.log)  # fmt: skip
    elif isinstance(event, ev.ToolFinished) and event.tool in _TOOLS and (event.log or not event.ok):
        tail: Line = ((show.duration(event.seconds), "quiet"),)
        mark = ("✓ ", "good") if event.ok else ("✗ ", "bad")
        head: Line = (mark, (f"{clean(event.tool)} ", "tool"), (one_line(event.text)[:200], "dim"))
        block = Block(0, 0.0, "", head=head, tail=tail, body=brief(event.text), log=event.log)
    return None if block is None else replace(block, seq=entry.seq, at=entry.at, kind=entry.kind)


def _attempt(e: ev.AttemptScored) -> Block:
    s = e.score
    phases = [f"build {show.duration(s.build_seconds)}"] if s.build_seconds else []
    phases += [f"all {show.duration(s.seconds)}"]
    tail: Line = ((" · ".join(phases), "quiet"),)
    head: Line = ((f"a{e.attempt} ", "head"), ("✓ " if s.correct else "✗ ", "good" if s.correct else "bad"),
                  (one_line(e.name), ""))  # fmt: skip
    words = "" if s.correct else f"{s.stage}: {brief(s.reason)}"
    return Block(0, 0.0, "", head=head, tail=tail, words=words, role="bad", body=brief(s.log), log=e.log or s.log)


def read_log(artifacts: Path, name: str) -> str:
    """The end of a log of a run, compressed since or not, clean for display; a sentence when it cannot be read."""
    if not name or "\n" in name or len(name) > 255:
        return ""
    path = RunFolder(artifacts.parent).log(name)
    if path is None:
        return f"{artifacts / name}: {os.strerror(errno.ENOENT)}"
    try:
        with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as file:
            size = file.seek(0, 2)
            file.seek(max(size - LOG_BYTES, 0))
            text = file.read().decode("utf-8", "replace")
    except (OSError, EOFError, zlib.error) as error:
        return f"{path}: {getattr(error, 'strerror', None) or error}"
    return clean(text if size <= LOG_BYTES else f"… the last {LOG_BYTES:,} of {size:,} bytes\n{text}")
