"""What must hold of every run, whatever happened to its engines: one list, used wherever an engine is killed.

Each invariant takes the facts of a run at rest and yields a sentence for each thing that is wrong.
"""

import os
import time
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from pathlib import Path

from engine import intake
from engine.lineage import Lineage
from engine.record import commands
from engine.record import events as ev
from engine.record.reader import Attempt, Reader, Spend, Version
from engine.record.run import RunFolder

EVERY = 10_000_000
ORPHAN_S = 10.0


@dataclass(frozen=True)
class Facts:
    """A run's journal and lineage, read once."""

    folder: RunFolder
    lineage: Lineage
    versions: list[Version]
    attempts: list[Attempt]
    events: list[ev.Event]
    commands: list[commands.Command]
    spend: Spend
    head: int | None

    @classmethod
    def of(cls, folder: RunFolder) -> "Facts":
        with Reader(folder.journal) as reader:
            return cls(
                folder,
                Lineage(folder.lineage),
                reader.versions(),
                reader.attempts(limit=EVERY),
                [e.event() for e in reader.events(limit=EVERY)],
                reader.commands(limit=EVERY),
                reader.spend(),
                reader.head(),
            )

    def all(self, *kinds: type) -> list:
        """The events of these types, in order."""
        return [e for e in self.events if isinstance(e, kinds)]


def temporary_of(folder: RunFolder) -> Path:
    """Where the engines of a run under test find TMPDIR."""
    return folder.path.with_name(f"{folder.name}-tmp")


def versions_in_journal_and_git_are_the_same(f: Facts) -> Iterable[str]:
    journal, git = {v.version: v.commit for v in f.versions}, {c.version: c.commit for c in f.lineage.versions()}
    yield from (f"v{v} is not the same in journal and git" for v in {*journal, *git} if journal.get(v) != git.get(v))


def sources_in_git_are_those_that_were_judged(f: Facts) -> Iterable[str]:
    hashes = {a.attempt: a.source_hash for a in f.attempts}
    for v in f.versions:
        if intake.hash_of(f.lineage.files(v.version)) != hashes.get(v.attempt):
            yield f"v{v.version} holds other sources than a{v.attempt}"


def numbers_are_unique_and_without_gaps(f: Facts) -> Iterable[str]:
    for name, numbers in (
        ("version", [v.version for v in f.versions]),
        ("attempt", [a.attempt for a in f.attempts]),
        ("scored", [e.attempt for e in f.all(ev.AttemptScored)]),
        ("committed", [e.version for e in f.all(ev.VersionCommitted)]),
    ):
        if numbers != list(range(len(numbers))):
            yield f"the {name} numbers are {numbers[:50]}"


def the_incumbent_is_the_same_everywhere(f: Facts) -> Iterable[str]:
    if f.lineage.head() != f.head:
        yield f"git's head is {f.lineage.head()}, the journal's v{f.head}"
    chain, at = set(), f.head
    parents = {v.version: v.parent for v in f.versions}
    while at is not None:
        chain.add(at)
        at = parents[at]
    if chain != {v.version for v in f.versions if v.active}:
        yield f"the active versions are not the head's line {sorted(chain)}"


def no_attempt_is_counted_twice(f: Facts) -> Iterable[str]:
    committed = Counter(v.attempt for v in f.versions)
    yield from (f"a{a} became {n} versions" for a, n in committed.items() if n > 1)
    decided = Counter(e.attempt for e in f.all(ev.GateDecided) if e.verdict in ("improved", "matched"))
    yield from (f"a{a} was accepted {n} times" for a, n in decided.items() if n > 1)
    for v in f.versions:
        if f.attempts[v.attempt].version != v.version:
            yield f"a{v.attempt} does not say that it became v{v.version}"


def spend_is_the_sum_of_what_was_spent(f: Facts) -> Iterable[str]:
    spent = f.all(ev.Spent)
    for name in ("input_tokens", "output_tokens", "cache_read_tokens", "cache_write_tokens"):
        if sum(getattr(e, name) for e in spent) != getattr(f.spend, name):
            yield f"{name} is {getattr(f.spend, name)}, not the sum of its events"
    if abs(sum(e.usd or 0.0 for e in spent) - f.spend.usd) > 1e-6 or len(spent) != f.spend.calls:
        yield f"spend is {f.spend}, not the sum of its events"


def the_moment_of_the_last_event_is_the_present(f: Facts) -> Iterable[str]:
    """What is kept for looks into the past (`spend_marks`, `direction_changes`) agrees with what is kept for now."""
    with Reader(f.folder.journal) as reader:
        after = reader.last_seq() + 1
        then, now = reader.spend_before(after), reader.spend()
        if abs(then.usd - now.usd) > 1e-6 or replace(then, usd=0.0) != replace(now, usd=0.0):
            yield f"spend before the next event is {then}, now it is {now}"
        told = {d.direction: replace(d, best_ratio=None) for d in reader.directions()}
        if told != {d.direction: d for d in reader.directions_before(after)}:
            yield "directions before the next event are not those there are now"


def every_tool_call_ended_once(f: Facts) -> Iterable[str]:
    started = [e.call for e in f.all(ev.ToolStarted)]
    finished = [e.call for e in f.all(ev.ToolFinished)]
    if len(started) != len(set(started)):
        yield "a tool call began twice"
    if sorted(started) != sorted(finished):
        yield f"tool calls without an end, or with two: {sorted((Counter(started) - Counter(finished)).elements())}"


def commands_are_applied_exactly_once(f: Facts) -> Iterable[str]:
    ends = Counter(e.command for e in f.all(ev.CommandChanged) if e.state != "seen")
    moves = Counter(e.command for e in f.all(ev.HeadMoved))
    for c in f.commands:
        if ends[c.command] != 1:
            yield f"command {c.command} ({c.verb}, {c.state}) came to {ends[c.command]} ends"
        if moves[c.command] > 1:
            yield f"command {c.command} moved the head {moves[c.command]} times"


def nothing_is_left_half_written(f: Facts) -> Iterable[str]:
    run = f.folder
    patterns = {
        run.artifacts: (".new-*", ".*.new", "*.part"),
        run.workspace: (".new-*", ".*.new"),
        run.lineage: ("*.lock", "tmp_obj_*", "objects/obj*", "avo-diff-*"),
        run.path: ("journal.new*",),
        temporary_of(run): ("*",),
    }
    for place, globs in patterns.items():
        walk = place.glob if place == run.path else place.rglob
        yield from (f"{p.relative_to(run.path)} was left" for g in globs for p in walk(g))


def no_process_is_left(f: Facts) -> Iterable[str]:
    end = time.monotonic() + ORPHAN_S  # the warden and the kernel take a moment to end what they are told to end
    while (left := processes_of(f.folder.path)) and time.monotonic() < end:
        time.sleep(0.05)
    yield from (f"process {pid} was left: {what}" for pid, what in left.items())


INVARIANTS: tuple[Callable[[Facts], Iterable[str]], ...] = (
    versions_in_journal_and_git_are_the_same,
    sources_in_git_are_those_that_were_judged,
    numbers_are_unique_and_without_gaps,
    the_incumbent_is_the_same_everywhere,
    no_attempt_is_counted_twice,
    spend_is_the_sum_of_what_was_spent,
    the_moment_of_the_last_event_is_the_present,
    every_tool_call_ended_once,
    commands_are_applied_exactly_once,
    nothing_is_left_half_written,
    no_process_is_left,
)


def wrong_with(folder: RunFolder) -> list[str]:
    """Every broken invariant of a run at rest, in sentences; empty when all hold."""
    facts = Facts.of(folder)
    return [f"{check.__name__}: {sentence}" for check in INVARIANTS for sentence in check(facts)]


def processes_of(run: Path) -> dict[int, str]:
    """Processes that belong to a run: it stands in their command line, environment or working directory."""
    mark, found = os.fsencode(run), {}
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit() or int(entry.name) == os.getpid():
            continue
        try:
            if (entry / "stat").read_bytes().rpartition(b")")[2].split()[0] in b"ZX":
                continue
            said = (entry / "cmdline").read_bytes()
            if (
                mark in said
                or mark in (entry / "environ").read_bytes()
                or mark in os.fsencode((entry / "cwd").readlink())
            ):
                found[int(entry.name)] = said.replace(b"\0", b" ").decode(errors="replace")[:200]
        except (OSError, ValueError):
            continue
    return found
