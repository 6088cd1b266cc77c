"""Commits: how an accepted candidate becomes a version, and which numbers come next."""

from __future__ import annotations

from collections.abc import Mapping

from engine.lineage import Lineage
from engine.record import events as ev
from engine.record.reader import Reader
from engine.record.scores import Score


def commit(
    lineage: Lineage,
    files: Mapping[str, bytes],
    *,
    version: int,
    parent: int | None,
    attempt: int,
    score: Score,
    verdict: ev.GateDecided,
    direction: str,
    name: str,
    message: str,
) -> ev.VersionCommitted:
    """The git commit of a version; the fact that the caller must journal next."""
    figures = {"Ratio": verdict.ratio, "Low": verdict.low, "High": verdict.high}
    trailers = {
        "Attempt": str(attempt),
        "Verdict": verdict.verdict,
        "Direction": direction,
        "Name": name,
        **{k: repr(v) for k, v in figures.items() if v is not None},
    }
    subject = message.strip() or name
    sha = lineage.commit(files, version=version, parent=parent, score=score, message=subject, trailers=trailers)
    return ev.VersionCommitted(
        version,
        sha,
        parent,
        attempt,
        verdict.verdict,
        direction,
        name,
        score,
        verdict.ratio,
        verdict.low,
        verdict.high,
    )


def next_attempt(reader: Reader) -> int:
    """The next attempt's number; the seed is attempt 0."""
    newest = reader.attempts(limit=1)
    return newest[-1].attempt + 1 if newest else 1


def next_version(reader: Reader, lineage: Lineage) -> int:
    """A version number that neither the journal nor git has ever used."""
    return max([lineage.next_version(), *(v.version + 1 for v in reader.versions())])


def last_step(reader: Reader) -> int:
    """The variation step that the run is in."""
    entries = reader.tail(1, kinds=("step",))
    fact = entries[-1].event() if entries else None
    return fact.step if isinstance(fact, ev.StepStarted) else 0
