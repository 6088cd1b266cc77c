"""Resume: make journal and git agree after the engine was killed anywhere, before anything new happens.

One rule: what was judged is kept, and nothing is counted twice. A version that git has and the journal
lacks is adopted when the gate's verdict on it is journaled. A journal that lost its last facts (a torn disk) gets
attempt, verdict and version back from the commit, which carries them. A verdict without its commit is completed
from the engine's own copy of the sources; anything else is named and left out.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from engine import commits, intake
from engine.lineage import Committed, Lineage
from engine.record import events as ev
from engine.record.errors import LineageError
from engine.record.frozen import dataclass
from engine.record.journal import Journal
from engine.record.reader import Attempt, Reader

FACTS_READ = 1000


@dataclass(frozen=True, slots=True)
class Found:
    """What the last engine left behind, in sentences; `paused` when it was pausing the run."""

    notes: tuple[str, ...]
    paused: bool


def reconcile(journal: Journal, reader: Reader, lineage: Lineage, candidates: Path) -> Found:
    """Bring journal and git together. Raises LineageError when git lacks a version that the journal has."""
    known = {v.version: v.commit for v in reader.versions()}
    state = lineage.reconcile(known, reader.head())
    if state.missing:
        names = ", ".join(f"v{v}" for v in state.missing)
        raise LineageError(
            f"{lineage.path} lacks {names}, which the journal has ({known[state.missing[0]][:10]}); "
            "restore lineage/ from a backup, then resume"
        )
    notes = [_adopt(journal, reader, lineage, c) for c in state.unjournaled]
    if (head := reader.head()) is not None and lineage.head() != head:
        lineage.move_head(head)
    if state.head_moved and not notes:
        notes.append("the head was put back to the journal's")
    if completed := _complete(journal, reader, lineage, candidates):
        notes.append(completed)
    notes += _close_calls(journal, reader)
    return Found(tuple(notes), _last_state(reader) == "paused")


def _adopt(journal: Journal, reader: Reader, lineage: Lineage, left: Committed) -> str:
    """Journal a version that reached git but not the journal."""
    number = left.trailers.get("Attempt", "")
    attempt = reader.attempt(int(number)) if number.isdigit() else None
    follows = left.parent == (None if left.version == 0 else reader.head())
    if attempt is None and follows and (lost := _lost(reader, lineage, left)):
        journal.append(*lost)
        return f"v{left.version} was lost by the journal; it is back from git"
    if attempt is None or left.score is None or not follows:
        journal.append(
            ev.Warned(f"git has v{left.version} ({left.commit[:10]}) that no verdict stands behind; left out")
        )
        return f"v{left.version} in git has no verdict and was left out"
    journal.append(_version(left, attempt), ev.StepStarted(attempt.step + 1, left.version))
    return f"v{left.version} was committed but not journaled; it is now"


def _lost(reader: Reader, lineage: Lineage, left: Committed) -> list[ev.Event]:
    """Attempt, verdict and version as the commit tells them; none when it was not the engine that committed."""
    number, verdict = left.trailers.get("Attempt", ""), left.trailers.get("Verdict")
    newest = reader.attempts(limit=1)
    if not number.isdigit() or verdict not in ("improved", "matched") or left.score is None:
        return []
    if newest and int(number) <= newest[-1].attempt:
        return []
    ratio, low, high = (_figure(left.trailers.get(name)) for name in ("Ratio", "Low", "High"))
    direction, name = left.trailers.get("Direction", ""), left.trailers.get("Name", f"attempt {number}")
    source_hash = intake.hash_of(lineage.files(left.version))
    step = newest[-1].step + 1 if newest else left.version
    diff = "" if left.parent is None else lineage.diff(left.parent, left.version)
    score, attempt = left.score, int(number)
    decided: ev.Verdict = "matched" if verdict == "matched" else "improved"
    return [
        ev.AttemptScored(attempt, step, left.parent, direction, name, source_hash, score, diff, "", left.message),
        ev.GateDecided(attempt, decided, "back from git: the journal had lost it", ratio, low, high),
        ev.VersionCommitted(
            left.version, left.commit, left.parent, attempt, decided, direction, name, score, ratio, low, high
        ),
        ev.StepStarted(step + 1, left.version),
    ]


def _figure(text: str | None) -> float | None:
    try:
        return None if text is None else float(text)
    except ValueError:
        return None


def _version(left: Committed, attempt: Attempt) -> ev.VersionCommitted:
    assert left.score is not None
    verdict: ev.Verdict = "matched" if left.trailers.get("Verdict") == "matched" else "improved"
    return ev.VersionCommitted(
        left.version,
        left.commit,
        left.parent,
        attempt.attempt,
        verdict,
        left.trailers.get("Direction", attempt.direction),
        left.trailers.get("Name", attempt.name),
        left.score,
        attempt.ratio,
        attempt.low,
        attempt.high,
    )


def _complete(journal: Journal, reader: Reader, lineage: Lineage, candidates: Path) -> str | None:
    """Commit what the gate accepted as the last thing before the engine ended."""
    entries = reader.tail(1, kinds=("gate", "version", "head"))
    decided = entries[-1].event() if entries else None
    if not isinstance(decided, ev.GateDecided) or decided.verdict not in {"improved", "matched"}:
        return None
    attempt, score = reader.attempt(decided.attempt), reader.attempt_score(decided.attempt)
    if attempt is None or score is None or attempt.parent != reader.head():
        return None
    folder = candidates / attempt.source_hash[:24]
    if not folder.is_dir() or intake.hash_of(files := intake.read_sources(folder)) != attempt.source_hash:
        return f"a{attempt.attempt} was accepted but its sources are gone; it was not committed"
    fact = commits.commit(
        lineage,
        files,
        version=commits.next_version(reader, lineage),
        parent=attempt.parent,
        attempt=attempt.attempt,
        score=score,
        verdict=decided,
        direction=attempt.direction,
        name=attempt.name,
        message=attempt.hypothesis or attempt.name,
    )
    journal.append(fact, ev.StepStarted(attempt.step + 1, fact.version))
    return f"a{attempt.attempt} was accepted but not committed; it is now v{fact.version}"


def _close_calls(journal: Journal, reader: Reader) -> list[str]:
    """End the tool calls that were running; their effects are unknown, nothing of them is counted."""
    entries = reader.tail(FACTS_READ, kinds=("tool_started", "tool_finished"))
    open_calls: dict[str, str] = {}
    for fact in (e.event() for e in entries):
        if isinstance(fact, ev.ToolStarted):
            open_calls[fact.call] = fact.tool
        elif isinstance(fact, ev.ToolFinished):
            open_calls.pop(fact.call, None)
    text = "the engine ended before this finished; look before doing it again"
    facts = [ev.ToolFinished(call, tool, False, text, 0.0) for call, tool in open_calls.items()]
    if facts:
        journal.append(*facts)
    return [f"cut off: {_count(list(open_calls.values()))}"] if facts else []


def _count(tools: Sequence[str]) -> str:
    return ", ".join(f"{tools.count(t)} {t}" for t in dict.fromkeys(tools))


def _last_state(reader: Reader) -> str:
    entries = reader.tail(1, kinds=("state",))
    fact = entries[-1].event() if entries else None
    return fact.state if isinstance(fact, ev.StateChanged) else ""


def last_turn(reader: Reader) -> int:
    """The last turn that did something."""
    entries = reader.tail(1, kinds=("tool_started", "said"))
    fact = entries[-1].event() if entries else None
    return fact.turn if isinstance(fact, (ev.ToolStarted, ev.Said)) else 0
