"""The status lines: is it alive, is it getting better, what does it cost, what is it doing."""

from __future__ import annotations

import time
from dataclasses import replace
from itertools import pairwise
from statistics import median

from avo_tui.model import show
from avo_tui.model.lines import Line, Span, clip, clip_text, fit, join, join_fitting, one_line, spread, width_of
from avo_tui.model.plan import MID
from avo_tui.model.snapshot import Snapshot

AMBER_S, RED_S = 10.0, 60.0
AGES_S = 5.0  # ages beside the heartbeat's are told in minutes, so that they may be so late
STALL_S = 300.0  # without any event, or five times what an attempt usually takes
PLATEAU = 12  # attempts since the last gain
STATES = {
    "starting": ("◌ STARTING", "info"),
    "running": ("● RUNNING", "good"),
    "paused": ("‖ PAUSED", "warn"),
    "stopping": ("◍ STOPPING", "warn"),
    "finished": ("■ FINISHED", "info"),
    "crashed": ("✗ CRASHED", "bad"),
}
_DOT: Span = (" · ", "faint")
_NARROW = 24  # columns of the right part below which it says no sentence
UNSAFE = "▲ UNSAFE: no sandbox"


def reads_alike(a: Snapshot, b: Snapshot) -> bool:
    """Whether two moments show the same: they differ at most in their times, and not enough for any age to be told."""
    if a.taken_at // AGES_S != b.taken_at // AGES_S or heartbeat(a) != heartbeat(b):
        return False
    then = replace(a, taken_at=b.taken_at, engine=b.engine, heartbeat_age_s=b.heartbeat_age_s, elapsed_s=b.elapsed_s)
    return show.elapsed(a.elapsed_s) == show.elapsed(b.elapsed_s) and then == b


def right_width(width: int, *, readonly: bool) -> int:
    """How many cells the right part takes: the heartbeat, and from 100 columns on what is being done."""
    if width >= MID:
        return width * 2 // 5
    return _NARROW if readonly else 14


def first_line(s: Snapshot, width: int) -> Line:
    """Who and how well: state, run, incumbent, ratio to the baseline."""
    state, role = ("✗ UNREADABLE", "bad") if s.trouble else STATES.get(s.state, (s.state.upper(), "warn"))
    parts: list[Line] = [((state, role),), ((s.run, "head"),), *_incumbent(s)]
    return fit(((" ", ""), *join_fitting(parts, ("  ", ""), width - 2)), width)


def _incumbent(s: Snapshot) -> list[Line]:
    if s.incumbent is None:
        return [(("no version yet", "dim"),)]
    unit = show.unit_for([s.incumbent.geomean_tflops])
    parts: list[Line] = [((f"v{s.incumbent.version} ", "accent"), (unit.full(s.incumbent.geomean_tflops), "strong"))]
    if s.rival and (ratio := s.against(s.rival)):
        mark, role = ("▲", "good") if ratio >= 1.0 else ("▼", "warn")
        parts.append(((f"{show.ratio(ratio)} {mark} ", role), (s.rival, "dim")))
    if s.gain and s.gain > 1.005:
        parts.append(((f"{show.ratio(s.gain, 1)} seed", "dim"),))
    return parts


def health(s: Snapshot, width: int, *, readonly: bool, replaying: str = "") -> Line:
    """The right end of the first line: the heartbeat, or which moment of the past this is."""
    mode: Line = (("READ-ONLY", "warn"), ("  ", "")) if readonly else ()
    if replaying or s.at is not None:
        return spread((), (*mode, (replaying or f"PAST #{s.last_seq}", "badge"), (" ", "")), width)
    beat: Line = (*mode, *heartbeat(s), (" ", ""))
    return spread((), (*company(s, width - width_of(beat)), *beat), width)


def company(s: Snapshot, width: int) -> Line:
    """Who else looks, by name where there is room and as a number where there is not; empty when nobody does."""
    if not s.company:
        return ()
    named = clip_text(", ".join(s.company), 24)
    for line in ((("with ", "dim"), (named, "you"), ("  ", "")), ((f"+{len(s.company)}", "you"), (" ", ""))):
        if width_of(line) < width:
            return line
    return ()


def heartbeat(s: Snapshot) -> Line:
    """LIVE with the heartbeat's age: amber after 10 s, red after 60 s."""
    age = s.heartbeat_age_s
    if s.trouble:
        return ((f"as of {time.strftime('%H:%M', time.localtime(s.taken_at))}", "bad"),)
    if s.state == "starting" or age is None:
        return (("no engine yet", "info"),)
    if s.state == "finished":
        return ((f"ended {show.ago(age)}", "dim"),)
    if s.state == "crashed":
        return ((f"✗ DEAD {show.span(age)}", "bad"),)
    if age >= RED_S:
        return ((f"✗ SILENT {show.span(age)}", "bad"),)
    if age >= AMBER_S:
        return ((f"▲ LATE {show.span(age)}", "warn"),)
    return ((f"LIVE {max(int(age), 1)}s" if age < 3 else f"LIVE {int(age)}s", "good"),)


def second_line(s: Snapshot, width: int, *, narrow: bool = False) -> Line:
    """How long, how lately, at what cost, how much: what fits, the first things first; the sandbox has its place.

    A run without a sandbox says so before everything else. In a narrow room the sandbox stands to the right.
    While the run cannot be read, that takes its place.
    """
    if s.trouble:
        return fit(((" ", ""), (clip_text(one_line(s.trouble), width - 2), "bad")), width)
    of = f" of {show.duration(s.limits.minutes * 60)}" if s.limits.minutes else ""
    known: list[Line] = [
        ((show.elapsed(s.elapsed_s) + of, ""),),
        _last_gain(s),
        _cost(s),
        ((show.count(len(s.versions), "version"), ""),),
        ((show.count(s.attempts, "attempt"), ""),),
    ]
    if s.unsafe:
        return fit(((" ", ""), *join_fitting([((UNSAFE, "badge"),), *known], _DOT, width - 2)), width)
    last = () if narrow else sandbox(s)
    room = width - 2 - (width_of((_DOT, *last)) if last else 0)
    return fit(((" ", ""), *join((join_fitting(known, _DOT, room), last), _DOT)), width)


def sandbox(s: Snapshot) -> Line:
    """What holds the candidates; empty while that is not known, and where nothing does (that stands elsewhere)."""
    return ((one_line(s.tier), "dim"),) if s.tier and not s.unsafe else ()


def doing(s: Snapshot, width: int) -> Line:
    """The right end of the second line: what is being done; where it is narrow, the sandbox."""
    if width > _NARROW:
        return spread((), (*clip(_doing(s), width - 1), (" ", "")), width)
    tier = sandbox(s)
    if width_of(tier) >= width:  # both tiers filter system calls; the first word tells them apart
        tier = ((s.tier.partition("+")[0], "dim"),)
    return spread((), (*clip(tier, width - 1), (" ", "")), width)


def _last_gain(s: Snapshot) -> Line:
    gains = [v for v in s.active if v.verdict == "improved"]
    word, role = progress(s)
    told: Line = ((f" {word}", role),) if word else ()
    if not gains:
        return told
    at = gains[-1].created_at
    if s.ended_at is not None:
        return (("last gain ", "dim"), (show.span(max(s.ended_at - at, 0.0)), ""), (" before the end", "dim"))
    return (("gain ", "dim"), (show.ago(s.taken_at - at), ""), *told)


def progress(s: Snapshot) -> tuple[str, str]:
    """Whether nothing happens (stalled) or nothing gained any more (plateau): a mark with its word, and its role."""
    if s.state != "running" or not s.tries:
        return "", ""
    quiet = s.taken_at - max(s.tries[-1].created_at, s.tail[-1].at if s.tail else 0.0)
    times = [a.created_at for a in s.tries[-20:]]
    usual = median(b - a for a, b in pairwise(times)) if len(times) > 2 else 60.0
    if quiet > max(STALL_S, 5 * usual):
        return f"▲ stalled {show.age(quiet)}", "bad"
    gained = max((v.seq for v in s.active if v.verdict == "improved"), default=0)
    since = sum([a.seq > gained for a in s.tries])
    return (f"▬ plateau, {since} tries", "warn") if since >= PLATEAU else ("", "")


def _cost(s: Snapshot) -> Line:
    if not s.spend.calls:
        return ()
    limit = s.limits.usd
    of = f" of {show.money(limit)}" if limit else ""
    role = "warn" if limit and s.spend.usd > 0.8 * limit else ""
    left = forecast(s)
    return ((show.money(s.spend.usd) + of, role), *(((f", lasts {show.age(left)}", role or "dim"),) if left else ()))


def forecast(s: Snapshot) -> float | None:
    """Seconds until the money is spent at the rate so far; None while there is no rate or no limit."""
    if not s.limits.usd or s.spend.usd <= 0 or s.elapsed_s < 60 or s.state not in ("running", "paused"):
        return None
    return max((s.limits.usd - s.spend.usd) / s.spend.usd * s.elapsed_s, 0.0)


def _doing(s: Snapshot) -> Line:
    if s.trouble:
        return ()
    if s.state == "crashed":
        return ((f"the engine died; 'avo resume {s.run}' goes on from v{s.head}", "bad"),)
    if s.state not in ("running", "stopping", "paused"):
        return ()
    text = one_line(s.activity)
    return ((text, "info"),) if text and text != s.state else ()


def alert_lines(s: Snapshot, width: int, count: int, *, key: str = "") -> list[Line]:
    """The gravest open alerts, at most `count` lines; `key` acknowledges one, "" when none does."""
    alerts = s.open_alerts
    lines: list[Line] = []
    for i, a in enumerate(alerts[:count]):
        role = {"critical": "bad", "warning": "warn"}.get(a.severity, "info")
        more = len(alerts) - count if i == count - 1 else 0
        right: Line = ((f"+{more} more ", "dim"),) if more > 0 else ()
        if key and i == 0:
            right = (*right, (key, "key"), (" acknowledge ", "dim"))
        left: Line = ((f" ▲ {a.severity}: ", role), (one_line(a.name), "strong"), (f"  {one_line(a.evidence)}", "dim"))
        lines.append(spread(left, right, width))
    return lines
