"""The transcript: events as blocks for reading. A block is one head line and a body that folds."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from dataclasses import replace
from functools import lru_cache
from typing import Any

from avo_tui.model import show
from avo_tui.model.lines import ONE_LINE, Line, brief, clean, clip, clip_text, fold, one_line, spread, width_of
from avo_tui.model.tree import VERDICTS
from engine.record import events as ev
from engine.record.frozen import dataclass
from engine.record.reader import Entry

BODY_LINES = 400


@dataclass(frozen=True, slots=True)
class Block:
    """One thing that happened. `words` are shown in full, wrapped; `body` only when unfolded.

    `call` joins a tool's start with its end. `rule` draws the head as a section's opening.
    """

    seq: int
    at: float
    kind: str
    head: Line = ()
    tail: Line = ()
    words: str = ""
    role: str = ""
    body: str = ""
    call: str = ""
    rule: bool = False
    open: bool = False
    log: str = ""

    @property
    def folds(self) -> bool:
        """Whether there is a body to unfold."""
        return bool(self.body or self.log)


@lru_cache(maxsize=600)
def fact(kind: str, data: str) -> ev.Event:
    """An event decoded once for all panes; the feed's thread does it first, so that the event loop need not."""
    return ev.decode(kind, data)


def blocks_of(entries: Iterable[Entry]) -> list[Block]:
    """Blocks in the order of the events; a tool's end replaces its start."""
    found: list[Block] = []
    running: dict[str, int] = {}
    for entry in entries:
        add(found, running, entry)
    return found


def add(found: list[Block], running: dict[str, int], entry: Entry) -> int | None:
    """Append an entry's block; returns the place of an earlier block that it completed instead."""
    event = fact(entry.kind, entry.data)
    if isinstance(event, ev.ToolFinished) and event.call in running:
        place = running.pop(event.call)
        found[place] = _finished(found[place], event)
        return place
    block = block_of(entry, event)
    if block is not None:
        if isinstance(event, ev.ToolStarted):
            running[event.call] = len(found)
        found.append(block)
    return None


def block_of(entry: Entry, event: ev.Event) -> Block | None:
    """An event's block, or None when the transcript leaves it out."""
    make = _MAKERS.get(type(event))
    if make is None:
        return None
    block = make(event)
    return None if block is None else replace(block, seq=entry.seq, at=entry.at, kind=entry.kind)


def lines_of(block: Block, width: int, *, unfolded: bool, stamp: bool = False) -> list[Line]:
    """A block's lines at a width. `stamp` puts the time of day before section rules."""
    lines: list[Line] = []
    if block.rule:
        lines.append(_rule(block, width, stamp=stamp))
    elif block.head:
        mark = ("▾ " if unfolded else "▸ ") if block.folds else "  "
        lines.append(_headline(((mark, "faint"), *block.head), block.tail, width))
    if block.words:
        lines.extend((("  " + text, block.role),) for text in fold(block.words, width - 2))
    if unfolded and block.body:
        body = fold(block.body, width - 4)
        lines.extend((("  │ ", "faint"), (text, "dim")) for text in body[:BODY_LINES])
        if len(body) > BODY_LINES:
            lines.append((("  │ ", "faint"), (f"… {len(body) - BODY_LINES} more lines; e opens it all", "info")))
    return lines


def _headline(head: Line, tail: Line, width: int) -> Line:
    return spread(head, tail, width, share=0.5)


def _rule(block: Block, width: int, *, stamp: bool) -> Line:
    clock = ((time.strftime(" %H:%M ", time.localtime(block.at)), "dim"),) if stamp else ()
    head = clip(((" ", ""), *block.head, (" ", "")), width - 8)
    gap = width - width_of(head) - width_of(clock) - 1
    return (("─", "faint"), *head, ("─" * max(gap, 0), "faint"), *clock)


def _said(e: ev.Said) -> Block | None:
    text = brief(e.text).strip()
    if not text:
        return None
    if e.reasoning:
        count = len(text.splitlines())
        head: Line = (("thinking ", "think"), (one_line(text), "think"))
        return _new(head=head, tail=((show.count(count, "line"), "quiet"),), body=text)
    return _new(words=text)


def _tool(e: ev.ToolStarted) -> Block:
    about = _arguments(e.tool, e.arguments)
    head: Line = ((clean(e.tool), "tool"), (f" {about}" if about else "", "dim"))
    return _new(head=head, tail=((" running…", "info"),), body=_dump(e.arguments), call=e.call)


def _finished(start: Block, e: ev.ToolFinished) -> Block:
    first = one_line(e.text[:ONE_LINE].strip().split("\n", 1)[0])
    mark = ("✓", "good") if e.ok else ("✗", "bad")
    head = (*start.head, ("  ", ""), mark, (" " + clip_text(first, 100), "dim" if e.ok else "bad"))
    tail: Line = ((f" {show.duration(e.seconds)}", "quiet"),)
    body = f"{start.body}\n{'─' * 8}\n{brief(e.text)}".strip()
    return replace(start, head=head, tail=tail, body=body, log=e.log)


def _orphan(e: ev.ToolFinished) -> Block:
    return _finished(_new(head=((clean(e.tool), "tool"),)), e)


def _direction(e: ev.DirectionChanged) -> Block | None:
    name = one_line(e.name)
    if e.state == "pursued":
        who: Line = (("  " + e.source, "dim"),) if e.source in ("person", "supervisor") else ()
        return _new(head=(("→ ", "accent"), (name, "head"), *who), rule=True, body=brief(e.why))
    if e.source == "person" or e.state in ("declined", "skipped", "vetoed", "pinned", "obeyed"):
        role = {"person": "you", "supervisor": "super"}.get(e.source, "dim")
        why = f": {one_line(e.why)}" if e.why and one_line(e.why) != name else ""  # a short direction is its own name
        return _new(head=(("◆ ", role), (f"{e.source} ", role), (f"{name} ", ""), (e.state, "strong"), (why, "dim")))
    return None


def _attempt(e: ev.AttemptScored) -> Block:
    s = e.score
    if s.correct:
        unit = show.unit_for([s.geomean_tflops])
        tail: Line = ((unit.full(s.geomean_tflops), "strong"),)
        return _new(
            head=((f"a{e.attempt} ", "head"), ("correct in every configuration", "good")), tail=tail, body=e.diff
        )
    head: Line = ((f"a{e.attempt} ", "head"), (f"✗ {s.stage}: ", "bad"), (one_line(s.reason), ""))
    return _new(head=head, body=f"{brief(s.reason)}\n\n{e.diff}".strip())


def _gate(e: ev.GateDecided) -> Block:
    mark, role = VERDICTS[e.verdict]
    figures = f" {show.ratio(e.ratio, 3)}" if e.ratio else ""
    if e.low and e.high:
        figures += f" [{e.low:.3f}, {e.high:.3f}]"
    head: Line = (
        (f"a{e.attempt} ", "head"),
        (f"{mark} {e.verdict}", role),
        (figures, "strong"),
        (f"  {one_line(e.reason)}", "dim"),
    )
    return _new(head=head, tail=((f" {show.count(e.rounds, 'round')} {show.duration(e.seconds)}", "quiet"),))


def _version(e: ev.VersionCommitted) -> Block:
    unit = show.unit_for([e.score.geomean_tflops])
    gain = f"  {show.ratio(e.ratio, 3)}" if e.ratio else ""
    head: Line = (("★ ", "accent"), (f"v{e.version} ", "accent"), (one_line(e.name), "head"))
    return _new(
        head=head, tail=((f" {unit.full(e.score.geomean_tflops)}{gain}", "accent"), (f"  {e.commit[:7]}", "dim"))
    )


def _head(e: ev.HeadMoved) -> Block:
    return _new(head=(("↶ ", "warn"), (f"{e.cause}: ", "warn"), (f"the head moved from v{e.before} to v{e.after}", "")))


def _baseline(e: ev.BaselineMeasured) -> Block:
    unit = show.unit_for([e.score.geomean_tflops])
    return _new(
        head=(("baseline ", "base"), (clean(e.name), "base")), tail=((unit.full(e.score.geomean_tflops), "base"),)
    )


def _profiled(e: ev.Profiled) -> Block:
    first = one_line(e.text[:ONE_LINE].strip().split("\n", 1)[0])
    return _new(head=(("profile ", "tool"), (first, "dim")), body=brief(e.text), log=e.log)


def _alert(e: ev.AlertRaised) -> Block:
    role = {"critical": "bad", "warning": "warn"}.get(e.severity, "info")
    return _new(head=((f"▲ {e.severity}: ", role), (one_line(e.name), "strong")), body=brief(e.evidence))


def _alert_closed(e: ev.AlertClosed) -> Block:
    why = f": {one_line(e.reason)}" if e.reason else ""
    return _new(head=(("△ ", "dim"), (f"alert {e.alert} closed by {clean(e.by)}{why}", "dim")))


def _intervened(e: ev.Intervened) -> Block:
    body = "\n".join((brief(e.saw), "", *(f"→ {clean(d)}" for d in e.directions)))
    return _new(head=((f"⟳ supervisor {e.level}: ", "super"), (one_line(e.diagnosis), "")), body=body, open=True)


def _judged(e: ev.InterventionJudged) -> Block:
    mark = ("✓ helped", "good") if e.helped else ("✗ did not help", "warn")
    return _new(head=((f"⟳ intervention {e.intervention} ", "super"), mark, (f": {one_line(e.how)}", "dim")))


def _command(e: ev.CommandChanged) -> Block | None:
    if e.state == "seen":
        return None
    role = "good" if e.state == "applied" else "bad"
    why = f": {one_line(e.reason)}" if e.reason else ""
    return _new(
        head=(
            ("◆ ", "you"),
            (f"{clean(e.person)} ", "you"),
            (f"#{e.command} {e.verb} ", ""),
            (e.state, role),
            (why, "dim"),
        )
    )


def _state(e: ev.StateChanged) -> Block:
    why = f": {one_line(e.reason)}" if e.reason else ""
    return _new(head=(("● ", "info"), (e.state, "strong"), (why, "dim")))


def _started(e: ev.RunStarted) -> Block:
    return _new(head=(("● ", "good"), (one_line(e.title()), "")), body=brief(e.note))


def _epoch(e: ev.EpochBegan) -> Block:
    return _new(head=(("◌ ", "info"), (one_line(e.title()), "dim")), body=brief(e.body()))


def _note(e: ev.Noted) -> Block:
    return _new(head=(("✎ note ", "info"), (one_line(e.text), "")), body=brief(e.text) if "\n" in e.text else "")


def _waited(e: ev.Waited) -> Block:
    return _new(head=(("◌ ", "warn"), (one_line(e.title()), "warn")))


def _warned(e: ev.Warned) -> Block:
    return _new(
        head=(("▲ ", "warn"), (one_line(e.message), "warn")), body=brief(e.message) if "\n" in e.message else ""
    )


def _raw(e: ev.Raw) -> Block:
    return _new(head=(("· ", "dim"), (one_line(e.title()), "dim")), body=_dump(e.data))


def _new(**fields: Any) -> Block:
    return Block(0, 0.0, "", **fields)


# The argument that says what a call is about; the others wait in the unfolded block.
_SHOWN = {
    "read": ("path",), "write": ("path",), "edit": ("path",), "find": ("pattern",), "shell": ("command",),
    "job": ("action", "id"), "evaluate": ("suite",), "profile": ("configurations",), "submit": ("message",),
    "lineage": ("action", "rev"), "knowledge_search": ("query",), "knowledge_read": ("page", "section"), "plan": (),
    "notes": ("text",), "acknowledge": ("words",),
}  # fmt: skip


def _arguments(tool: str, arguments: Any) -> str:
    if not isinstance(arguments, dict):
        return one_line(str(arguments))[:200]
    known = [one_line(str(arguments[name])) for name in _SHOWN.get(tool, ()) if arguments.get(name)]
    if tool in _SHOWN:
        return " ".join(clip_text(text, 48) for text in known)
    return " ".join(f"{k}={clip_text(one_line(str(v)), 32)}" for k, v in arguments.items())


def _dump(arguments: Any) -> str:
    if not isinstance(arguments, dict):
        return brief(str(arguments))
    return "\n".join(f"{k}: {brief(str(v))}" for k, v in arguments.items())


_MAKERS: dict[type[ev.Event], Callable[[Any], Block | None]] = {
    ev.Said: _said,
    ev.ToolStarted: _tool,
    ev.ToolFinished: _orphan,
    ev.DirectionChanged: _direction,
    ev.AttemptScored: _attempt,
    ev.GateDecided: _gate,
    ev.VersionCommitted: _version,
    ev.HeadMoved: _head,
    ev.BaselineMeasured: _baseline,
    ev.Profiled: _profiled,
    ev.AlertRaised: _alert,
    ev.AlertClosed: _alert_closed,
    ev.Intervened: _intervened,
    ev.InterventionJudged: _judged,
    ev.CommandChanged: _command,
    ev.StateChanged: _state,
    ev.RunStarted: _started,
    ev.EpochBegan: _epoch,
    ev.Noted: _note,
    ev.Waited: _waited,
    ev.Warned: _warned,
    ev.Raw: _raw,
}
