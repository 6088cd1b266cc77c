"""Lessons: what a run learned, distilled from its journal into one page that later runs find.

One rule: a lesson states what the gate and the scorer said, with the attempt or version as its evidence;
nothing in it is anyone's opinion except the notes, which are marked as such. Distilling twice gives the
same page. A person may edit or remove it: what they changed is never overwritten, and what they removed does not
come back by itself, only when they ask (`avo knowledge learn RUN`).
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path

from engine.knowledge import personal_directory
from engine.record import events as ev
from engine.record.config import load
from engine.record.errors import Refused
from engine.record.reader import Attempt, Reader, Version
from engine.record.run import RunFolder

ROWS = 40
_REMOVED = ".removed-lessons"
_MARK = re.compile(r'^distilled = "(\w+)"\n', re.MULTILINE)
_NOTES_LIMIT = 6_000
_NAME_LIMIT = 140


def write(run: RunFolder, directory: Path | None = None) -> Path | None:
    """Put the run's lessons into a folder of pages (the person's).

    None when there is nothing to write: the run has tried nothing yet, or the person edited or removed the page.
    """
    text = distil(run)
    store = directory or personal_directory()
    path = store / f"{page_id(run)}.md"
    if text is None or path.name in _removed(store) or edited(path):
        return None
    store.mkdir(parents=True, exist_ok=True)
    fresh = path.with_suffix(".new")
    fresh.write_text(_marked(text), "utf-8")
    fresh.replace(path)
    return path


def edited(path: Path) -> bool:
    """Whether somebody changed a page since it was distilled."""
    try:
        text = path.read_text("utf-8")
    except OSError:
        return False
    found = _MARK.search(text)
    return found is None or found[1] != _sum(_MARK.sub("", text, count=1))


def forget(path: Path) -> None:
    """Remember that a lesson was removed, so that its run does not bring it back by itself."""
    names = sorted({*_removed(path.parent), path.name})
    (path.parent / _REMOVED).write_text("".join(f"{name}\n" for name in names), "utf-8")


def _removed(store: Path) -> frozenset[str]:
    try:
        return frozenset((store / _REMOVED).read_text("utf-8").split())
    except OSError:
        return frozenset()


def _marked(text: str) -> str:
    """The page with its own sum in the front matter, by which an edit is seen."""
    return text.replace("lesson = true\n", f'lesson = true\ndistilled = "{_sum(text)}"\n', 1)


def _sum(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def bequeath(from_version: str, run: RunFolder) -> Path | None:
    """Give a run that begins from another run's version ("PATH@vN") the lessons of that run."""
    source, at, _ = from_version.rpartition("@v")
    if not at or not (Path(source) / "journal.db").is_file():
        return None
    return write(RunFolder(Path(source)), run.path / "knowledge")


def page_id(run: RunFolder) -> str:
    """The page's name: one for each run."""
    return f"lesson-{run.name}"


def distil(run: RunFolder) -> str | None:
    """The page's text, or None when there is nothing to learn from."""
    problem = load(run.config).problem
    with Reader(run.journal) as reader:
        versions = reader.versions()
        if not versions or reader.counts()[1] < 2:
            return None
        paid = sorted((v for v in versions if v.version and v.verdict == "improved"), key=lambda v: -(v.ratio or 0.0))
        sections = {
            "What paid": [_paid(v, reader.attempt(v.attempt)) for v in paid[:ROWS]],
            "What did not pay": list(_unpaid(reader.each_attempt())),
            "What was not correct": list(_incorrect(reader.each_attempt())),
            "What the person asked for": list(_asked(reader)),
            "Notes of the operator": list(_notes(reader)),
            "The machine": list(_machine(reader)),
        }
        front = _front(run, problem, versions, paid)
    parts = [f"## {title}\n" + "\n".join(lines) for title, lines in sections.items() if lines]
    return front + "\n" + "\n\n".join(parts) + "\n"


def _front(run: RunFolder, problem: str, versions: Sequence[Version], paid: Sequence[Version]) -> str:
    seed = versions[0]
    best = max((v for v in versions if v.active), key=lambda v: v.version, default=seed)
    gain = _gain(best, {v.version: v for v in versions})
    first = f"; most of it from: {_short(paid[0].name)}" if paid else ""
    facts = {
        "id": page_id(run),
        "title": f"Lessons of run {run.name} on {problem}",
        "claim": f"v{best.version} reached {gain:.3g}x the seed{first}",
        "evidence": f"{len(versions)} versions of run {run.name}, each judged by the gate",
        "source": str(run.path),
        "date": datetime.fromtimestamp(versions[-1].created_at, UTC).strftime("%Y-%m-%d"),
        "hardware": seed.score.device,
    }
    lines = [f"{key} = {json.dumps(value, ensure_ascii=False)}" for key, value in facts.items()]
    return "\n".join(["+++", *lines, f'tags = ["lesson", {json.dumps(problem)}]', "lesson = true", "+++", ""])


def _gain(best: Version, versions: Mapping[int, Version]) -> float:
    """How often faster than the seed: the gate's ratios along the line of descent, which noise touches least."""
    gain, at = 1.0, best
    while at.parent is not None and at.parent in versions:
        gain *= at.ratio or 1.0
        at = versions[at.parent]
    return gain


def _paid(v: Version, attempt: Attempt | None) -> str:
    why = f" {_short(attempt.hypothesis)}" if attempt and attempt.hypothesis else ""
    span = f" ({v.low:.3f} to {v.high:.3f})" if v.low and v.high else ""
    return f"- {v.ratio or 0:.3f}x{span}: {_short(v.name)}.{why} [v{v.version}, a{v.attempt}]"


def _unpaid(attempts: Iterable[Attempt]) -> Iterator[str]:
    """Correct candidates that the gate did not find better, the worst first, each idea once."""
    tried = [a for a in attempts if a.verdict in ("regressed", "matched") and a.ratio]
    for a in _once(sorted(tried, key=lambda a: a.ratio or 0.0)):
        yield f"- {a.ratio:.3f}x, {a.verdict}: {_idea(a)} [a{a.attempt}]"


def _incorrect(attempts: Iterable[Attempt]) -> Iterator[str]:
    for a in _once(a for a in attempts if not a.correct):
        yield f"- {_idea(a)}: {a.stage}, {_short(a.reason)} [a{a.attempt}]"


def _once(attempts: Iterable[Attempt]) -> Iterator[Attempt]:
    seen: set[str] = set()
    for a in attempts:
        if _idea(a) not in seen and len(seen) < ROWS:
            seen.add(_idea(a))
            yield a


def _asked(reader: Reader) -> Iterator[str]:
    for d in reader.directions():
        if d.source == "person":
            ratio = f", best {d.best_ratio:.3f}x" if d.best_ratio else ""
            yield f"- {_short(d.name)}: {d.state}{ratio}"


def _notes(reader: Reader) -> Iterator[str]:
    room = _NOTES_LIMIT
    for entry in reversed(reader.tail(500, kinds=("note",))):
        event = entry.event()
        if isinstance(event, ev.Noted) and (room := room - len(event.text)) >= 0:
            yield f"- {' '.join(event.text.split())[:1000]}"


def _machine(reader: Reader) -> Iterator[str]:
    newest = reader.tail(1, kinds=("profile",))
    event = newest[0].event() if newest else None
    if isinstance(event, ev.Profiled):
        for name, value in sorted(event.facts.items()):
            if name.startswith("machine."):
                yield f"- {name.removeprefix('machine.')}: {value}"


def _idea(a: Attempt) -> str:
    named, why = _short(a.name), _short(a.hypothesis)
    return f"{named} ({why})" if named and why and why != named else named or why or "an unnamed change"


def _short(text: str) -> str:
    flat = " ".join(text.split()).rstrip(".")
    return flat if len(flat) <= _NAME_LIMIT else flat[: _NAME_LIMIT - 1] + "…"


def learn(run: RunFolder) -> Path:
    """What `avo knowledge learn RUN` does: write the lessons now.

    Refuses a run that has tried nothing, and a page that a person has edited.
    """
    store = personal_directory()
    path = store / f"{page_id(run)}.md"
    if edited(path):
        raise Refused(f"{path} was edited by hand; to have it written anew: avo knowledge remove {path.stem}")
    if path.name in (removed := _removed(store)):
        (store / _REMOVED).write_text("".join(f"{name}\n" for name in sorted(removed - {path.name})), "utf-8")
    if (found := write(run)) is None:
        raise Refused(f"run {run.name} has tried nothing yet; there is nothing to learn from it")
    return found
