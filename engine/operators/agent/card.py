"""The state card: what opens an epoch, written by the engine from the record and not by the model.

One rule: everything that the run must not forget is in here, each part within its own limit, so that a
model which remembers nothing can go on from the card alone.
"""

from __future__ import annotations

from collections.abc import Sequence

from engine.record import events as ev
from engine.record.events import clip
from engine.record.reader import Attempt, Reader, Version
from engine.record.scores import Score, throughput, unit_of
from engine.session import Session

LINEAGE_ROWS = 15
LEDGER_ROWS = 60
LESSONS = 6
CHARACTERS_PER_TOKEN = 3.5
_NOTES_LIMIT, _DIRECTIONS_LIMIT, _LEDGER_LIMIT, _SUMMARY_LIMIT = 12_000, 16_000, 12_000, 16_000
_OVER = frozenset({"improved", "matched", "regressed", "incorrect", "skipped", "vetoed", "withdrawn", "offered"})


def card(session: Session, *, summary: str = "", reason: str = "") -> str:
    """The opening message of an epoch. `summary` is the model's own handoff, when there is one."""
    reader = session.reader
    parts = [
        _opening(session, reason),
        _devices(session),
        _section("Score of the incumbent", _scores(reader)),
        _section(f"Lineage, the last {LINEAGE_ROWS} versions", _lineage(reader.versions())),
        _section("What was tried and did not enter the lineage", _ledger(reader)),
        _section("Plan", _plan(reader)),
        _section("Notes", _notes(reader)),
        _section("Directions given to you", _directions(reader)),
        _section("Lessons of earlier runs: read them with `knowledge_read` before you begin", _lessons(session)),
        _section("Handoff: your own words at the end of the conversation before", summary[:_SUMMARY_LIMIT]),
        _next(reader),
    ]
    return "\n\n".join(part for part in parts if part)


def tokens_of(text: str) -> int:
    """A cautious estimate of a text's tokens."""
    return int(len(text) / CHARACTERS_PER_TOKEN) + 1


def _opening(session: Session, reason: str) -> str:
    first = len(session.reader.attempts(limit=2)) < 2
    why = f"This conversation begins anew ({reason}). " if reason else ""
    state = (
        "Nothing has been tried yet." if first else "The record below was written by the engine; trust it over memory."
    )
    return f"<state_card>\n{why}Problem: {session.problem.title} ({session.problem.name}). {state}"


def _devices(session: Session) -> str:
    """How many candidates are measured at once, where it is more than one."""
    width = session.trials.width if session.trials is not None else 1
    several = f"{width} candidates are measured at once here: give `evaluate` as many `variants` as you have ideas."
    return several if width > 1 else ""


def _section(title: str, text: str) -> str:
    return f"## {title}\n{text}" if text.strip() else ""


def _scores(reader: Reader) -> str:
    best = reader.incumbent()
    if best is None:
        return ""
    seed, baselines = reader.version(0), reader.baselines()
    every = [c.tflops for score in (best.score, *baselines.values()) for c in score.configurations]
    scale, unit = unit_of(every)
    lines = [f"v{best.version} {best.name}: geomean {throughput(best.geomean_tflops)} (commit {best.commit[:12]})"]
    for entry in best.score.configurations:
        beside = [f"seed {_of(seed.score if seed else None, entry.name, scale)}"]
        beside += [f"{name} {_of(score, entry.name, scale)}" for name, score in baselines.items()]
        lines.append(f"- {entry.name}: {_figure(entry.tflops, scale)} {unit} ({', '.join(beside)})")
    return "\n".join(lines)


def _of(score: Score | None, configuration: str, scale: float) -> str:
    found = score.of(configuration) if score else None
    return _figure(found.tflops if found else None, scale)


def _figure(tflops: float | None, scale: float) -> str:
    return "none" if tflops is None else f"{tflops / scale:.4g}"


def _lineage(versions: Sequence[Version]) -> str:
    return "\n".join(_version(v) for v in versions[-LINEAGE_ROWS:])


def _version(v: Version) -> str:
    ratio = f", {v.ratio:.3f}x its incumbent" if v.ratio else ""
    withdrawn = "" if v.active else " (withdrawn)"
    parent = "" if v.parent is None else f" from v{v.parent}"
    return f"- v{v.version}{withdrawn}{parent}: {throughput(v.geomean_tflops)}{ratio}; {clip(v.name)}"


def _ledger(reader: Reader) -> str:
    """Failed hypotheses, newest first, as many as fit."""
    lines: list[str] = []
    room = _LEDGER_LIMIT
    for attempt in reversed([a for a in reader.attempts(limit=400) if a.version is None]):
        line = _attempt(attempt)
        room -= len(line) + 1
        if room < 0 or len(lines) >= LEDGER_ROWS:
            lines.append(
                "- older ones: search the record with the lineage and knowledge tools before you repeat an idea"
            )
            break
        lines.append(line)
    return "\n".join(lines)


def _attempt(a: Attempt) -> str:
    figure = throughput(a.geomean_tflops) if a.geomean_tflops else a.stage
    verdict = f", {a.verdict}" + (f" {a.ratio:.3f}x" if a.ratio else "") if a.verdict else ", not submitted"
    what = clip(a.hypothesis or a.name or "no hypothesis given")
    return f"- a{a.attempt} from v{a.parent}: {figure}{verdict}; {what}" + (f" [{clip(a.reason)}]" if a.reason else "")


def _plan(reader: Reader) -> str:
    newest = reader.tail(1, kinds=("plan",))
    event = newest[0].event() if newest else None
    if not isinstance(event, ev.PlanChanged):
        return ""
    return "\n".join(f"- [{state}] {number}: {clip(text)}" for number, text, state in event.items)


def _notes(reader: Reader) -> str:
    kept: list[str] = []
    room = _NOTES_LIMIT
    for entry in reversed(reader.tail(500, kinds=("note",))):
        event = entry.event()
        if isinstance(event, ev.Noted):
            room -= len(event.text) + 2
            if room < 0:
                kept.append("- (older notes: read them with the notes tool)")
                break
            kept.append(f"- {event.text.strip()}")
    return "\n".join(reversed(kept))


def _directions(reader: Reader) -> str:
    """The person's and the supervisor's directions, verbatim, newest first, with what became of each."""
    now = {d.direction: d for d in reader.directions()}
    kept: list[str] = []
    room = _DIRECTIONS_LIMIT
    for given in reversed(_given(reader)):
        state = now[given.direction].state if given.direction in now else "sent"
        if room <= 0 or (given.source == "supervisor" and state in _OVER):
            continue
        line = f"- {given.direction} ({given.source}, {state}): {given.why.strip()}"
        kept.append(line if len(line) <= room else f"{line[:room]} … (the rest is in the journal)")
        room -= len(line)
    return "\n".join(kept)


def _lessons(session: Session) -> str:
    """What earlier runs learned: those handed to this run first, then those of the same problem, then the newest."""
    if session.knowledge is None:
        return ""
    pages = [p for p in session.knowledge.pages() if p.lesson]
    pages.sort(key=lambda p: p.date, reverse=True)
    pages.sort(key=lambda p: (p.place != "run", session.problem.name not in p.tags))
    return "\n".join(f"- {p.id}: {clip(p.title)}. {clip(p.claim)} ({p.hardware})" for p in pages[:LESSONS])


def _given(reader: Reader) -> list[ev.DirectionChanged]:
    """Each direction as it was sent."""
    found: list[ev.DirectionChanged] = []
    after = 0
    while entries := reader.events(after, kinds=("direction",)):
        after = entries[-1].seq
        events = [entry.event() for entry in entries]
        found += [
            e for e in events
            if isinstance(e, ev.DirectionChanged) and e.state == "sent" and e.source in ("person", "supervisor")
        ]  # fmt: skip
    return found


def _next(reader: Reader) -> str:
    best = reader.incumbent()
    at = f"The workspace may hold unfinished edits on top of v{best.version}; " if best else ""
    return f"{at}look at it first, then go on.\n</state_card>"
