"""The digest: the whole trajectory in a few pages, for the supervisor's review by the model.

One rule: it is made from the record alone, each part within its own limit, the newest first where it must be cut;
the state card's parts are in it, so that a reviewer knows no less of the run than the agent does.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from itertools import islice

from engine.operators.agent.card import card, tokens_of
from engine.record import events as ev
from engine.record.events import clip
from engine.record.reader import Direction, Reader, Version
from engine.session import Session

CALLS = 40
TOKENS = 30_000
_DIRECTIONS_LIMIT, _LINEAGE_LIMIT, _CALLS_LIMIT = 14_000, 10_000, 10_000


def digest(session: Session, finding: str, known: Sequence[Direction]) -> str:
    """What the reviewer is given. `finding` is what the detectors saw, with their evidence."""
    reader = session.reader
    parts = [
        f"## Why you are asked\n{finding}",
        card(session),
        _section("The whole lineage", _within([_version(v) for v in reader.versions()], _LINEAGE_LIMIT)),
        _section("Every direction so far", _within([_direction(d) for d in known], _DIRECTIONS_LIMIT)),
        _section("All attempts, counted", _outcomes(reader)),
        _section(f"The last {CALLS} tool calls", _within(_calls(reader), _CALLS_LIMIT)),
    ]
    return _fitting([part for part in parts if part])


def _fitting(parts: list[str]) -> str:
    """The parts, the last ones left out when they are too much together."""
    while len(parts) > 1 and tokens_of("\n\n".join(parts)) > TOKENS:
        parts.pop()
    return "\n\n".join(parts)


def _section(title: str, text: str) -> str:
    return f"## {title}\n{text}" if text else ""


def _within(lines: Sequence[str], limit: int) -> str:
    """The newest lines that fit, in their order; how many were left out."""
    kept: list[str] = []
    room = limit
    for line in reversed(lines):
        room -= len(line) + 1
        if room < 0:
            kept.append(f"- ({len(lines) - len(kept)} older ones)")
            break
        kept.append(line)
    return "\n".join(reversed(kept))


def _version(v: Version) -> str:
    ratio = f"{v.ratio:.3f}x" if v.ratio else "start"
    withdrawn = "" if v.active else " (withdrawn)"
    return f"- v{v.version}{withdrawn} {ratio} {v.verdict}: {clip(v.name)} [a{v.attempt}]"


def _direction(d: Direction) -> str:
    ratio = f", best {d.best_ratio:.3f}x" if d.best_ratio else ""
    tried = f"tried {d.tried} times{ratio}" if d.tried else "not tried"
    return f"- {d.direction} {clip(d.name)} ({d.source}): {d.state}, {tried}"


def _outcomes(reader: Reader) -> str:
    """How all attempts ended, and the reasons that came most often."""
    ended: Counter[str] = Counter()
    reasons: Counter[str] = Counter()
    for a in islice(reader.each_attempt(), 1, None):
        ended[a.verdict or (f"failed at {a.stage}" if not a.correct else "not submitted")] += 1
        reasons[clip(a.reason, 120)] += not a.correct and bool(a.reason)
    lines = [f"- {count} {word}" for word, count in ended.most_common()]
    lines += [f"- {count} times: {reason}" for reason, count in reasons.most_common(5) if count > 1]
    return "\n".join(lines)


def _calls(reader: Reader) -> list[str]:
    """The newest tool calls with the first line of their answers."""
    begun: dict[str, str] = {}
    lines: list[str] = []
    for entry in reader.tail(2 * CALLS, kinds=("tool_started", "tool_finished")):
        event = entry.event()
        if isinstance(event, ev.ToolStarted):
            begun[event.call] = f"turn {event.turn}: {event.tool} {ev.summary_of(event.arguments, 120)}".rstrip()
        elif isinstance(event, ev.ToolFinished):
            asked = begun.get(event.call, event.tool)
            first = clip(event.text.strip().partition("\n")[0], 160)
            lines.append(f"- {asked} -> {'' if event.ok else 'failed: '}{first}")
    return lines
