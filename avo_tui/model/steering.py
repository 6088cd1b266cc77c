"""Supervisor and commands: what was seen, what was done about it, and whether it helped."""

from __future__ import annotations

import re

from avo_tui.model import show
from avo_tui.model.lines import Line, Row, clean, clip_text, left, one_line, spread, wrap
from avo_tui.model.snapshot import Snapshot
from avo_tui.model.view import View
from engine.record.commands import Command
from engine.record.reader import Alert, Intervention

_WAITING = re.compile(r"waiting \d+s\b")  # what the agent is doing while it sits out a limit or a lost connection


def hindrance(s: Snapshot, *, readonly: bool) -> tuple[str, str]:
    """Why the run cannot be steered from here, and its role; empty when it can."""
    if readonly:
        return "read-only: capital letters do nothing here", "warn"
    if s.at is not None:
        return "this is the past; f returns to now", "warn"
    if s.trouble:
        return "not now: the run cannot be read", "bad"
    if s.state == "finished":
        return f"the run has ended; 'avo resume {s.run}' goes on", "warn"
    if s.state == "crashed":
        return f"no engine is running; 'avo resume {s.run}' starts one", "bad"
    return "", ""


def nothing_to_do(s: Snapshot, action: str) -> str:
    """Why one of the capitals would do nothing to a run that can be steered; "" when it would."""
    if action == "wake" and not waits(s):
        return "the operator does not wait"
    if action == "acknowledge" and not s.open_alerts:
        return "no alert is open"
    if action == "rollback" and len(s.active) < 2:
        return "there is no older version to roll back to"
    return ""


def waits(s: Snapshot) -> bool:
    """Whether the operator sits out a wait that a person can cut short."""
    return s.state == "running" and _WAITING.match(s.activity) is not None


def supervisor(s: Snapshot, view: View) -> list[Row]:
    """Open alerts first, then interventions and closed alerts, newest first.

    Keys: ("alert", number) and ("intervention", number).
    """
    rows: list[Row] = []
    for a in s.open_alerts:
        rows += _alert(s, a, view)
    past: list[Alert | Intervention] = [a for a in s.all_alerts if a.closed_at is not None]
    past += s.interventions
    for thing in sorted(past, key=lambda x: -x.at):
        rows += _alert(s, thing, view) if isinstance(thing, Alert) else _intervention(s, thing, view)
    return rows or [Row((("  all quiet: no alert and no intervention so far", "dim"),))]


def _alert(s: Snapshot, a: Alert, view: View) -> list[Row]:
    if not view.wants(f"{a.severity} {a.what} {a.name} {a.evidence}"):
        return []
    role = {"critical": "bad", "warning": "warn"}.get(a.severity, "info")
    key = ("alert", a.alert)
    if a.closed_at is not None:
        end = f"closed by {clean(a.closed_by or '')} {show.ago(s.taken_at - a.closed_at)} "
        head: Line = ((f" △ {a.severity} ", "dim"), (one_line(a.name), "dim"))
        return [Row(spread(head, ((end, "dim"),), view.width), key)]
    head = ((f" ▲ {a.severity} ", role), (one_line(a.name), "strong"))
    rows = [Row(spread(head, (("open ", role), (f"{show.age(s.taken_at - a.at)} ", "dim")), view.width), key)]
    return rows + [Row(((f"   {text}", "dim"),)) for text in wrap(clean(a.evidence), view.width - 4)]


def _intervention(s: Snapshot, i: Intervention, view: View) -> list[Row]:
    if not view.wants(f"{i.level} {i.saw} {i.diagnosis} {' '.join(i.directions)}"):
        return []
    ends = {None: ("not known yet", "dim"), True: ("✓ helped", "good"), False: ("✗ did not help", "warn")}
    text, role = ends[i.helped]
    head: Line = ((f" ⟳ {i.level} ", "super"), (one_line(i.saw), ""))
    rows = [Row(spread(head, ((f"{text} ", role), (f"{show.age(s.taken_at - i.at)} ", "dim")), view.width),
                ("intervention", i.intervention))]  # fmt: skip
    rows += [Row(((f"   {text}", "dim"),)) for text in wrap(clean(i.diagnosis), view.width - 4)]
    rows += [Row((("   → ", "super"), (clip_text(one_line(d), view.width - 6), ""))) for d in i.directions]
    if i.how:
        rows.append(Row((("   " + clip_text(one_line(i.how), view.width - 4), role),)))
    return rows


def commands(s: Snapshot, view: View) -> list[Row]:
    """Every command with its life, newest first; keys are command numbers."""
    rows = [
        Row(_command(s, c, view.width), c.command)
        for c in reversed(s.commands)
        if view.wants(f"{c.person} {c.verb} {c.state} {argument_of(c)}")
    ]
    return rows or [Row((("  no command yet: P pauses, I gives a direction, R rolls back", "dim"),))]


def _command(s: Snapshot, c: Command, width: int) -> Line:
    why = f"  {one_line(c.reason)}" if c.reason else ""
    head: Line = ((f" #{c.command:<3} ", "dim"), (f"{c.verb} ", "strong"), (argument_of(c), ""), (why, "dim"))
    tail: Line = (*life(c), (f"  {left(clip_text(clean(c.person), 10), min(len(c.person), 10))}", "you"),
                  (f" {show.age(s.taken_at - c.at):>4} ", "dim"))  # fmt: skip
    return spread(head, tail, width, share=0.3)


def life(c: Command) -> Line:
    """A command's life so far: `sent → seen → applied 2.1s`."""
    took = show.duration(c.state_at - c.at)
    if c.state == "sent":
        return (("sent", "info"), (" → …", "quiet"))
    if c.state == "seen":
        return (("sent → ", "quiet"), ("seen", "info"), (" → …", "quiet"))
    role = "good" if c.state == "applied" else "bad"
    mark = "✓" if c.state == "applied" else "✗"
    return (("sent → seen → ", "quiet"), (f"{mark} {c.state}", role), (f" {took}", "dim"))


def argument_of(c: Command) -> str:
    """What a command was about, in a few words."""
    a = c.arguments
    if c.verb == "direct":
        return one_line(str(a.get("text", "")))
    if c.verb == "rollback":
        return f"to v{a.get('version')}"
    if c.verb in ("acknowledge", "cancel"):
        return f"#{a.get('alert', a.get('command'))}"
    return " ".join(f"{k} {one_line(str(v))}" for k, v in a.items())


def latest(s: Snapshot, client: str) -> Line:
    """The newest command's life, for the last line of the screen; empty when it is long over."""
    mine = [c for c in s.commands if c.client == client] or list(s.commands)
    if not mine or (mine[-1].state in ("applied", "refused") and s.taken_at - mine[-1].state_at > 20):
        return ()
    c = mine[-1]
    why = f": {clip_text(one_line(c.reason), 60)}" if c.state == "refused" and c.reason else ""
    return ((f"#{c.command} {c.verb} ", "strong"), *life(c), (why, "warn"))
