"""What happened since this person last looked: the digest shown on attach and by `a`."""

from __future__ import annotations

from collections import Counter

from avo_tui.model import show
from avo_tui.model.lines import EMPTY, Line, clip_text, join, one_line
from avo_tui.model.snapshot import Snapshot
from engine.record import events as ev
from engine.record.reader import Entry, Reader

WORTH_S = 300.0
_KINDS = ("version", "attempt", "gate", "alert", "intervention", "command", "state", "run_started", "head", "spent")
_LIMIT = 20_000


def worth_telling(s: Snapshot, seq: int, at: float) -> bool:
    """Whether enough time and events passed since `at` that a digest helps."""
    return s.last_seq > seq and s.taken_at - at > WORTH_S


def digest(s: Snapshot, reader: Reader, seq: int, at: float) -> list[Line]:
    """A few lines: versions and gain, attempts, alerts, the supervisor, commands, crashes, cost."""
    entries = reader.events(seq, kinds=_KINDS, limit=_LIMIT)
    lines: list[Line] = [
        ((f"Since {show.ago(s.taken_at - at)} ", "dim"), (f"({s.last_seq - seq:,} events)", "quiet")),
        EMPTY,
        _versions(s, entries),
        _attempts(entries),
        _alerts(s, entries),
        _supervisor(s, entries),
        _commands(entries),
        _states(entries),
        _cost(entries),
    ]
    needs = _needs(s)
    return [line for i, line in enumerate(lines) if line or i == 1] + [EMPTY, needs]


def _label(name: str) -> tuple[str, str]:
    return (f"{name:<12}", "dim")


def _versions(s: Snapshot, entries: list[Entry]) -> Line:
    fresh = [v for e in entries if e.kind == "version" for v in s.versions if v.seq == e.seq]
    if not fresh:
        return (_label("versions"), ("none", "warn"))
    before = [v for v in s.versions if v.seq < fresh[0].seq and v.geomean_tflops]
    old, new = (before[-1].geomean_tflops if before else None), (s.incumbent.geomean_tflops if s.incumbent else None)
    unit = show.unit_for([new])
    gain: Line = (
        ((f"  {unit.text(old)} → {unit.full(new)} ", ""), (show.percent(new / old - 1), "good")) if old and new else ()
    )
    best = max(fresh, key=lambda v: v.ratio or 0.0)
    named: Line = ((f"  most: v{best.version} {clip_text(one_line(best.name), 36)}", "dim"),) if best.ratio else ()
    return (_label("versions"), (f"+{len(fresh)}, now v{s.head}", "strong"), *gain, *named)


def _attempts(entries: list[Entry]) -> Line:
    count = sum(e.kind == "attempt" for e in entries)
    verdicts = Counter(
        d.verdict for d in (e.event() for e in entries if e.kind == "gate") if isinstance(d, ev.GateDecided)
    )
    if not count:
        return ()
    parts = ", ".join(f"{n} {name}" for name, n in verdicts.most_common())
    return (_label("attempts"), (str(count), "strong"), (f"  {parts}" if parts else "", "dim"))


def _alerts(s: Snapshot, entries: list[Entry]) -> Line:
    raised = [a for a in (e.event() for e in entries if e.kind == "alert") if isinstance(a, ev.AlertRaised)]
    if not raised:
        return ()
    still = {a.alert for a in s.open_alerts}
    open_ = sum(a.alert in still for a in raised)
    worst = one_line(raised[-1].name)
    return (
        _label("alerts"),
        (f"{len(raised)}", "strong"),
        (f", {open_} still open", "warn" if open_ else "dim"),
        (f"  last: {worst}", "dim"),
    )


def _supervisor(s: Snapshot, entries: list[Entry]) -> Line:
    fresh = {e.seq for e in entries if e.kind == "intervention"}
    found = [i for i in s.interventions if i.seq in fresh]
    if not found:
        return ()
    helped = sum(i.helped is True for i in found)
    return (_label("supervisor"), (show.count(len(found), "intervention"), "strong"), (f", {helped} helped", "dim"))


def _commands(entries: list[Entry]) -> Line:
    done = [c for c in (e.event() for e in entries if e.kind == "command") if isinstance(c, ev.CommandChanged)]
    over = [c for c in done if c.state != "seen"][-3:]
    if not over:
        return ()
    parts: list[Line] = [
        ((f"#{c.command} {c.verb} ", ""), (c.state, "good" if c.state == "applied" else "bad")) for c in over
    ]
    return (_label("commands"), *join(parts, (", ", "dim")))


def _states(entries: list[Entry]) -> Line:
    starts = [r for r in (e.event() for e in entries if e.kind == "run_started") if isinstance(r, ev.RunStarted)]
    moves = [c for c in (e.event() for e in entries if e.kind == "state") if isinstance(c, ev.StateChanged)]
    again = sum(r.resumed for r in starts)
    words = [f"the engine was resumed {show.count(again, 'time')}"] if again else []
    words += dict.fromkeys(f"{c.state}{f' ({one_line(c.reason)})' if c.reason else ''}" for c in moves[-3:])
    return (_label("state"), ("; ".join(words), "warn" if again else "")) if words else ()


def _cost(entries: list[Entry]) -> Line:
    calls = [c for c in (e.event() for e in entries if e.kind == "spent") if isinstance(c, ev.Spent)]
    if not calls:
        return ()
    return (
        _label("spent"),
        (show.money(sum(c.usd or 0.0 for c in calls)), "strong"),
        (f"  {show.count(len(calls), 'call')}", "dim"),
    )


def _needs(s: Snapshot) -> Line:
    if s.state == "crashed":
        return (("✗ needs you: ", "bad"), (f"the engine died; 'avo resume {s.run}'", "strong"))
    if s.open_alerts:
        a = s.open_alerts[0]
        return (("▲ needs you? ", "warn"), (f"{a.severity}: {one_line(a.name)}", "strong"))
    if s.state == "paused":
        return (("‖ paused: ", "warn"), ("P resumes", "strong"))
    return (("✓ nothing needs you", "good"),)
