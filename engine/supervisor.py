"""The supervisor: steps in when the run is stuck, and later says whether that helped.

A ladder, one step at a time: nudge, review (at least three directions), restore the best, pause and call
the person. A new best, a moved head or a person's resume starts it again. Every step is an event.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace

from engine.answers import Directive
from engine.conduct import Conduct, Witness, signs
from engine.detectors import LEVELS, Finding, Trajectory, look
from engine.inbox import Inbox
from engine.record import events as ev
from engine.record.config import SupervisorConfig
from engine.record.frozen import dataclass
from engine.record.journal import Journal
from engine.record.reader import Alert, Attempt, Direction, Intervention, Reader, Version

READ = 200
DIRECTIONS = 3
NEAR_MISS = 0.97
SEVERITY: dict[ev.Level, ev.Severity] = {
    "nudge": "info",
    "review": "warning",
    "restore": "warning",
    "pause": "critical",
}
MINE = ("stall", "cycle", "failures", "conduct")


@dataclass(frozen=True, slots=True)
class Review:
    """What a review concludes: a diagnosis, and directions as (id or "", what to try)."""

    diagnosis: str
    directions: tuple[tuple[str, str], ...]


Reviewer = Callable[[str, Sequence[Direction]], Awaitable[Review | None]]


@dataclass(frozen=True, slots=True)
class Step:
    """What the supervisor just did, for the search loop to act on: restore the best, or pause."""

    level: ev.Level
    reason: str


class Supervisor:
    """Looks at the trajectory between turns. `reviewer` is a model's review; without one the rules review."""

    def __init__(
        self, journal: Journal, reader: Reader, inbox: Inbox, rule: SupervisorConfig, reviewer: Reviewer | None = None
    ) -> None:
        self._journal, self._reader, self._inbox, self._rule = journal, reader, inbox, rule
        self._reviewer = reviewer
        self._witness = Witness(reader)
        self._seen = (-1, -1, -1)
        self._best = self._known_at = -1
        self._known_best: Version | None = None
        self._begun: list[str] = []
        self._begun_at = self._begun_for = -1

    async def look(self, elapsed_s: float) -> Step | None:
        """Judge earlier steps, close what is over, and take at most one new step."""
        self._mark_best(elapsed_s)
        reset = self._reset()
        conduct = self._witness.conduct(reset)
        # Turns alone are worth a look only when something is wrong with them: a look reads much of the record.
        odd = conduct.turns if signs(conduct, self._rule) else 0
        now = (self._reader.counts()[1], int(elapsed_s) // 60, odd)
        if now == self._seen:
            return None
        self._seen = now
        self._judge()
        trajectory = self._trajectory(reset, elapsed_s, conduct)
        finding = self._due(look(trajectory, self._rule), reset, trajectory)
        return None if finding is None else await self._step_in(finding, trajectory)

    def _last_best(self) -> Version | None:
        """The newest version that improved and is active. Read again only when a version or a head move came."""
        newest = self._reader.tail(1, kinds=("version", "head"))
        seq = newest[0].seq if newest else 0
        if seq != self._known_at:
            bests = [v for v in self._reader.versions() if v.verdict == "improved" and v.active]
            self._known_best = max(bests, key=lambda v: v.seq, default=None)
            self._known_at = seq
        return self._known_best

    def _reset(self) -> int:
        """The sequence number from which the ladder counts."""
        best = self._last_best()
        heads = self._reader.tail(1, kinds=("head",))
        pauses = [i.seq for i in self._reader.interventions() if i.level == "pause"]
        return max([best.seq if best else 0, *(e.seq for e in heads), *pauses])

    # --- what there is to see ------------------------------------------------------------

    def _mark_best(self, elapsed_s: float) -> None:
        """Remember at what running time the last reset came, and close alerts that a new best answers."""
        reset = self._reset()
        if reset == self._best:
            return
        known = self._reader.meta("supervisor_reset") or ""
        if known.partition(" ")[0] != str(reset):
            self._journal.set_meta("supervisor_reset", f"{reset} {elapsed_s:.3f}")
        self._best = reset
        best = self._last_best()
        if best is not None and best.seq == reset:
            reason = f"v{best.version} is a new best"
            closing = [a for a in self._reader.alerts(open_only=True) if a.what in MINE]
            if closing:
                self._journal.append(*(ev.AlertClosed(a.alert, "supervisor", reason) for a in closing))

    def _trajectory(self, reset: int, elapsed_s: float, conduct: Conduct) -> Trajectory:
        since = float((self._reader.meta("supervisor_reset") or f"0 {elapsed_s}").partition(" ")[2])
        attempts = tuple(a for a in self._reader.attempts(limit=READ) if a.seq > reset)
        pursued = self._pursued_since(reset)
        best = self._last_best()
        name = f"v{best.version} {best.name}" if best else "the start"
        return Trajectory(attempts, pursued, (elapsed_s - since) / 60, name, conduct)

    def _pursued_since(self, reset: int) -> tuple[str, ...]:
        """Directions that the operator began since the reset; each event is read once."""
        if self._begun_for != reset:
            self._begun, self._begun_at, self._begun_for = [], reset, reset
        while entries := self._reader.events(self._begun_at, kinds=("direction",)):
            self._begun_at = entries[-1].seq
            facts = [f for f in (e.event() for e in entries) if isinstance(f, ev.DirectionChanged)]
            self._begun += [f.direction for f in facts if f.state == "pursued" and f.source != "person"]
        return tuple(self._begun)

    def _due(self, findings: Sequence[Finding], reset: int, trajectory: Trajectory) -> Finding | None:
        """The finding to act on: higher on the ladder than what was done since the reset, after the cooldown.

        A restore comes only after a review, and a pause after a restore, however far a finding already is.
        """
        done = [i for i in self._reader.interventions() if i.seq > reset]
        if done and not self._cooled(done[0].seq, trajectory):
            return None
        for finding in findings:
            taken = [LEVELS.index(i.level) for i in done if i.saw.startswith(f"{finding.what}: ")]
            highest = max(taken, default=-1)
            if LEVELS.index(finding.level) > highest:
                rung = min(LEVELS.index(finding.level), max(highest + 1, LEVELS.index("review")))
                return replace(finding, level=LEVELS[rung])
        return None

    def _cooled(self, since: int, trajectory: Trajectory) -> bool:
        """Whether the operator had its time to act on the last step."""
        tries = sum(a.seq > since for a in trajectory.attempts)
        return tries >= self._rule.cooldown or self._witness.turns_since(since) >= self._rule.cooldown_turns

    # --- what it does --------------------------------------------------------------------

    async def _step_in(self, finding: Finding, trajectory: Trajectory) -> Step:
        saw = f"{finding.what}: {finding.evidence}"
        review = await self._review(finding, saw, trajectory)
        number = self._number()
        texts = tuple(text for _, text in review.directions)
        facts: list[ev.Event] = [ev.Intervened(number, finding.level, saw, review.diagnosis, texts)]
        facts += self._alert(finding)
        ids = tuple(i for i, _ in review.directions if i)
        text = "\n".join([f"Supervisor ({finding.level}): {review.diagnosis}", *(f"- {t}" for t in texts)])
        directive = Directive(f"supervisor-{number}", "supervisor", text, level=finding.level, directions=ids)
        if finding.level == "pause":
            facts.append(ev.StateChanged("paused", f"the supervisor calls you: {finding.name}"))
        else:
            facts.append(self._inbox.put(directive))
        self._journal.append(*facts)
        return Step(finding.level, finding.name)

    async def _review(self, finding: Finding, saw: str, trajectory: Trajectory) -> Review:
        known = self._reader.directions()
        if self._reviewer is not None and finding.level != "nudge":
            asked = await self._reviewer(f"{saw}\n{digest(trajectory)}", known)
            if asked is not None:
                return asked
        most = 1 if finding.level == "nudge" else DIRECTIONS
        return Review(diagnose(finding, trajectory), suggest(known, self._inbox.vetoed, trajectory.best, most))

    def _alert(self, finding: Finding) -> list[ev.Event]:
        """One open alert for each kind of finding; a more serious one takes the place of the one before."""
        severity = SEVERITY[finding.level]
        alerts = self._reader.alerts()
        still = next((a for a in alerts if a.what == finding.what and a.closed_at is None), None)
        if still is not None and still.severity == severity:
            return []
        number = alerts[0].alert + 1 if alerts else 1
        facts: list[ev.Event] = [_superseded(still, number)] if still is not None else []
        return [*facts, ev.AlertRaised(number, severity, finding.what, finding.name, finding.evidence)]

    def _number(self) -> int:
        taken = self._reader.interventions()
        return taken[0].intervention + 1 if taken else 1

    def _judge(self) -> None:
        """Say of each earlier step whether a new best came of it, once that can be said."""
        steps = self._reader.interventions()
        if all(step.helped is not None for step in steps):
            return
        bests = [v for v in self._reader.versions() if v.verdict == "improved" and v.version > 0]
        attempts = self._reader.attempts(limit=READ)
        for i, step in enumerate(steps):
            if step.helped is None:
                later = steps[i - 1].seq if i > 0 else None
                if fact := judge(step, later, bests, attempts, self._rule):
                    self._journal.append(fact)


def judge(
    step: Intervention,
    later: int | None,
    bests: Sequence[Version],
    attempts: Sequence[Attempt],
    rule: SupervisorConfig,
) -> ev.InterventionJudged | None:
    """Whether a step helped; None while that is open. `later` is the sequence number of the step after it."""
    best = next((v for v in bests if v.seq > step.seq and (later is None or v.seq < later)), None)
    if best is not None:
        tries = sum(step.seq < a.seq <= best.seq for a in attempts)
        ratio = f" at {best.ratio:.3f}x" if best.ratio else ""
        how = f"v{best.version} {best.name}{ratio} came {tries} attempt{'s' * (tries != 1)} later"
        return ev.InterventionJudged(step.intervention, True, how)
    if later is not None:
        return ev.InterventionJudged(step.intervention, False, "no new best before the next step")
    tries = sum(a.seq > step.seq for a in attempts)
    if tries >= rule.stall_review:
        return ev.InterventionJudged(step.intervention, False, f"no new best in {tries} attempts")
    return None


def diagnose(finding: Finding, trajectory: Trajectory) -> str:
    """What the rules make of a finding, in a sentence."""
    if finding.what == "cycle":
        return f"{finding.name}: what is already known is being measured again"
    if finding.what == "conduct":
        return f"{finding.name}: nothing new is learned this way; change something, measure it, or try another way"
    if finding.what == "failures":
        return f"{finding.name}: smaller steps from {trajectory.best} would show which part breaks"
    ratios = [a.ratio for a in trajectory.attempts if a.ratio is not None]
    if ratios and max(ratios) >= 1:
        return f"{finding.name}: one measured {max(ratios):.3f}x without proof; what is left to gain is near the noise"
    if ratios and max(ratios) >= NEAR_MISS:
        return (
            f"{finding.name}: the last tries come within {1 - max(ratios):.1%} of the best, a plateau of this approach"
        )
    return f"{finding.name}: the last tries are far from the best; the approach itself does not pay here"


def suggest(known: Sequence[Direction], vetoed: frozenset[str], best: str, count: int) -> tuple[tuple[str, str], ...]:
    """Directions as (id, what to try): untried ones spread over the catalogue, then near misses, then general ones."""
    usable = [d for d in known if d.direction not in vetoed and d.source not in {"person", "supervisor"}]
    untried = _spread([d for d in usable if d.tried == 0 and d.state in {"offered", "pinned"}], count)
    near = [d for d in usable if d.tried and d.state != "improved" and (d.best_ratio or 0.0) >= NEAR_MISS]
    near.sort(key=lambda d: -(d.best_ratio or 0.0))
    found = [(d.direction, f"{d.name} (untried)") for d in untried]
    found += [(d.direction, f"{d.name} again, on {best} (was {d.best_ratio:.3f}x)") for d in near]
    general = [
        ("", f"a parameter search around {best}: tile sizes, unrolls, thread schedules"),
        ("", "profile the slowest configuration and attack what it spends its time on"),
        ("", "combine two changes that each came close on their own"),
    ]
    return tuple((found + general)[:count])


def digest(trajectory: Trajectory) -> str:
    """The last attempts, one line each, for a reviewer."""
    lines = [
        f"a{a.attempt} {a.name}: {a.verdict or a.stage} {f'{a.ratio:.3f}x' if a.ratio else ''} {a.reason[:160]}"
        for a in trajectory.attempts[-40:]
    ]
    return "\n".join([f"best so far: {trajectory.best}", *lines])


def _spread(directions: list[Direction], count: int) -> list[Direction]:
    if len(directions) <= count:
        return directions
    step = (len(directions) - 1) / max(1, count - 1)
    return [directions[round(i * step)] for i in range(count)]


def _superseded(alert: Alert, by: int) -> ev.AlertClosed:
    return ev.AlertClosed(alert.alert, "supervisor", f"alert {by} takes its place")
