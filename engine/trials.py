"""Trials: evaluate informs, submit decides. The only way from the workspace into the lineage.

Order of writes on a commit: the attempt, the gate's verdict, the git commit, then the version in one
journal transaction. Killed anywhere between, the next engine completes or drops it (engine/resume.py).
"""

from __future__ import annotations

import asyncio
import json
import math
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from engine import gate, intake, pairing
from engine.commits import commit, last_step, next_attempt, next_version
from engine.devices import Scorers
from engine.host import Host
from engine.intake import Candidate
from engine.lineage import Lineage
from engine.record import events as ev
from engine.record.errors import ConfigError, Refused, ScorerError
from engine.record.frozen import dataclass
from engine.record.reader import Reader, Version
from engine.record.scores import Score
from engine.session import Evaluation, Profile, Pursuit, Session, Submission, Variant
from engine.settle import settled

SEED_DIRECTION = "seed"
WORTH_A_VERDICT = 1.02


@dataclass(frozen=True, slots=True)
class Rivals:
    """What a candidate is measured against: the incumbent and, when another, the last proven-better version."""

    incumbent: Version
    anchor: Version | None


class RunTrials:
    """Scores, judges, commits and restores for one run. One request of the operator's at a time."""

    def __init__(self, session: Session, scorers: Scorers, lineage: Lineage, reader: Reader) -> None:
        self._session, self._scorers, self._lineage, self._reader = session, scorers, lineage, reader
        self._artifacts = session.folder.artifacts
        self._candidates = self._artifacts / "candidates"
        self._busy = asyncio.Lock()
        self._judged: dict[tuple[str, int], Submission] = {}
        self._folders: dict[int, Path] = {}
        self.submitting = False
        self._promising = ""
        self.seconds_left = math.inf
        self.step = last_step(reader)

    def refresh(self) -> None:
        """Look again at where the journal stands, after it was reconciled."""
        self.step = last_step(self._reader)

    def next_step(self, parent: int) -> None:
        """Begin a variation step from a version that no commit just made."""
        self.step += 1
        self._session.record(ev.StepStarted(self.step, parent))

    @property
    def patience_s(self) -> float:
        """How long figures that are kept may be measured now; less in a run that ends soon."""
        return pairing.patience_s(self._whole_patience_s, self.seconds_left)

    @property
    def _whole_patience_s(self) -> float:
        """A GPU is nobody else's while it is measured, and its figures repeat."""
        return self._session.config.scorer.patience_s if self._session.problem.device == "cpu" else 0.0

    # --- evaluate ------------------------------------------------------------------------

    @property
    def width(self) -> int:
        """How many evaluations run side by side."""
        return self._scorers.width

    async def evaluate(self, suite: str, configurations: Sequence[str] | None, hypothesis: str) -> Evaluation:
        """Score the workspace as one attempt."""
        names = self._asked(suite, configurations)
        async with self._busy:
            candidate = self._take()
            found = await self._informed(candidate, suite, names, hypothesis, self._session.pursuit)
        if found.score.correct and (found.paired_ratio or 0.0) >= WORTH_A_VERDICT:
            self._promising = candidate.source_hash
        return found

    async def evaluate_all(
        self, suite: str, configurations: Sequence[str] | None, variants: Sequence[Variant]
    ) -> list[Evaluation | ScorerError]:
        """Score folders of the workspace side by side, each as one attempt. A scorer's failure costs only its own."""
        names = self._asked(suite, configurations)
        async with self._busy:
            taken = [intake.take(intake.inside(self._session.workspace, v.folder), self._candidates) for v in variants]
            work = [
                self._informed(candidate, suite, names, v.hypothesis, self._pursued(v))
                for candidate, v in zip(taken, variants, strict=True)
            ]
            found = await asyncio.gather(*work, return_exceptions=True)
        for result in found:
            if isinstance(result, BaseException) and not isinstance(result, ScorerError):
                raise result
        return [f for f in found if isinstance(f, (Evaluation, ScorerError))]

    def _asked(self, suite: str, configurations: Sequence[str] | None) -> list[str] | None:
        if suite not in {"quick", "full"}:
            raise Refused(f"no suite {suite!r}; there are: quick, full")
        return self._names(configurations)

    def _pursued(self, variant: Variant) -> Pursuit:
        """What a variant's attempt is filed under."""
        p = self._session.pursuit
        return replace(p, id=variant.direction or p.id, name=variant.name or p.name)

    async def _informed(
        self, candidate: Candidate, suite: str, names: Sequence[str] | None, hypothesis: str, pursuit: Pursuit
    ) -> Evaluation:
        """One attempt in one lane: its score, and its glance beside the incumbent on the same device."""
        async with self._scorers.lane() as host:
            found = await self._evaluate(host, candidate, suite, names, hypothesis, pursuit)
            return replace(found, paired_ratio=await self._glance(host, candidate, found.score))

    async def _glance(self, host: Host, candidate: Candidate, score: Score) -> float | None:
        """The candidate beside the incumbent in a round or two of the quick suite: recorded scores age with noise."""
        incumbent = self._reader.incumbent()
        if not score.correct or incumbent is None:
            return None
        rival = self._folder_of(incumbent.version)
        if rival == candidate.folder:
            return None
        names, count = pairing.glance(self._session.problem, score, incumbent.score)
        sources = [str(candidate.folder), str(rival)]
        try:
            first = await host.rounds(sources, rounds=count, first=0, configurations=names, on_event=self.on_event)
            rounds = first.rounds
            if pairing.unsteady(rounds):
                more = await host.rounds(
                    sources, rounds=pairing.MORE_ROUNDS, first=count, configurations=names, on_event=self.on_event
                )
                rounds += more.rounds
        except ScorerError as error:
            self._session.record(ev.Warned(f"the glance beside the incumbent failed: {error}"))
            return None
        return pairing.ratio(rounds)

    async def _evaluate(
        self,
        host: Host,
        candidate: Candidate,
        suite: str,
        names: Sequence[str] | None,
        hypothesis: str,
        pursuit: Pursuit,
    ) -> Evaluation:
        earlier = tuple(a.attempt for a in self._reader.attempts_of(candidate.source_hash))
        score = await host.score(candidate.folder, suite=suite, configurations=names, on_event=self.on_event)
        return self._record(candidate, score, hypothesis, earlier, pursuit)

    def _record(
        self, candidate: Candidate, score: Score, hypothesis: str, earlier: tuple[int, ...], pursuit: Pursuit
    ) -> Evaluation:
        session, parent = self._session, self._reader.head()
        number = next_attempt(self._reader)
        diff = self._lineage.diff_files(parent, candidate.files)
        log = self._keep(Path("attempts") / f"a{number}.log", score.log)
        score = replace(score, log=log, source_hash=candidate.source_hash)
        session.record(
            ev.AttemptScored(
                number,
                self.step,
                parent,
                pursuit.id,
                pursuit.name or _first_line(hypothesis) or "an attempt",
                candidate.source_hash,
                score,
                diff,
                log,
                hypothesis,
            )
        )
        return Evaluation(number, score, diff, log, earlier)

    async def last_word(self) -> Submission | None:
        """At a limit: the gate's verdict on a workspace that was measured faster and that nobody submitted yet.

        None when there is no such thing. What was correct and faster shall not be lost to a limit.
        """
        if not self._promising or self._take().source_hash != self._promising:
            return None
        return await self.submit("the last candidate before the limit", "measured faster, and not yet judged")

    # --- submit --------------------------------------------------------------------------

    async def submit(self, message: str, hypothesis: str) -> Submission:
        """Judge the workspace against the incumbent, and commit it when it matches or improves."""
        async with self._busy:
            self.submitting, self._promising = True, ""
            try:
                return await self._submit(self._take(), message, hypothesis)
            finally:
                self.submitting = False

    async def _submit(self, candidate: Candidate, message: str, hypothesis: str) -> Submission:
        rivals = self._rivals()
        incumbent = rivals.incumbent
        if candidate.source_hash == intake.hash_of(self._lineage.files(incumbent.version)):
            raise Refused(f"the workspace is exactly v{incumbent.version}; change something before you submit")
        if known := self._judged.get((candidate.source_hash, incumbent.version)):
            return replace(known, reason=f"judged before as a{known.attempt}: {known.reason}")
        async with self._scorers.lane(first=True) as host:
            attempt, score = await self._scored(host, candidate, hypothesis or message)
            start = time.monotonic()
            verdict = _incorrect(score)
            if score.correct:
                verdict, score = await self._judged_score(host, candidate, score, rivals, attempt)
        self._decide(attempt, verdict, time.monotonic() - start)
        if verdict.commits:
            return self._commit(candidate, attempt, incumbent, score=score, verdict=verdict, message=message)
        submission = Submission(attempt, **_figures(verdict))
        if not pairing.blurred(verdict.low, verdict.high):
            self._judged[candidate.source_hash, incumbent.version] = submission
        return submission

    async def _scored(self, host: Host, candidate: Candidate, hypothesis: str) -> tuple[int, Score]:
        """The attempt with these sources over every configuration; scored now unless it was before."""
        wanted = {c.name for c in self._session.problem.configurations}
        for known in reversed(self._reader.attempts_of(candidate.source_hash)):
            score = self._reader.attempt_score(known.attempt)
            if score is not None and score.correct and wanted <= {c.name for c in score.configurations}:
                return known.attempt, score
        evaluation = await self._evaluate(host, candidate, "full", None, hypothesis, self._session.pursuit)
        return evaluation.attempt, evaluation.score

    async def _judged_score(
        self, host: Host, candidate: Candidate, score: Score, rivals: Rivals, attempt: int
    ) -> tuple[gate.Verdict, Score]:
        """The verdict, and the score of what is committed, as the rounds and a later evaluation settled it.

        A version's figures are there to be repeated, so they are measured once more; other secret inputs check it as
        well, and what fails here is not committed.
        """
        verdict, names, rounds = await self._judge(host, candidate, score, rivals, attempt)
        again = None
        if verdict.commits and self.patience_s:
            self._session.doing("measuring the version's figures")
            again = await host.score(candidate.folder, patience_s=self.patience_s, on_event=self.on_event)
            if not again.correct:
                return _incorrect(again), score
        problem = self._session.problem
        flops = {c.name: c.flops for c in problem.configurations}
        return verdict, settled(score, names, rounds, flops, problem.device, again)

    async def _judge(
        self, host: Host, candidate: Candidate, score: Score, rivals: Rivals, attempt: int
    ) -> tuple[gate.Verdict, tuple[str, ...], list[gate.Round]]:
        """The gate's verdict, the rounds' columns and the rounds. Those of a device that was lost do not count."""
        session = self._session
        versions = [rivals.incumbent, *([rivals.anchor] if rivals.anchor else [])]
        sources = [str(candidate.folder), *(str(self._folder_of(v.version)) for v in versions)]
        plain = pairing.columns(session.problem, score, [v.score for v in versions])
        rounds: list[gate.Round] = []
        names: tuple[str, ...] = ()
        rule, place = pairing.within(session.config.gate, self.seconds_left), host.place
        while isinstance(decision := gate.decide(score, rounds, rule), gate.More):
            self._session.doing(f"gate: a{attempt} against v{rivals.incumbent.version}, round {len(rounds) + 1}")
            more, first = decision.rounds, len(rounds)
            measured = await host.rounds(
                sources, rounds=more, first=first, configurations=plain, on_event=self.on_event
            )
            if host.place != place:
                rounds, place = [], host.place
            rounds += measured.rounds
            names = measured.configurations
            self._keep_rounds(attempt, names, rounds)
        if plain is not None:
            decision = replace(decision, reason=f"{decision.reason}; paired on {', '.join(plain)}")
        return decision, names, rounds

    def _decide(self, attempt: int, verdict: gate.Verdict, seconds: float) -> None:
        p = self._session.pursuit
        facts: list[ev.Event] = [ev.GateDecided(attempt, seconds=seconds, **_figures(verdict))]
        if p.id:
            facts.append(
                ev.DirectionChanged(p.id, p.name, p.source, verdict.verdict, verdict.reason, self._session.turn)
            )
        self._session.record(*facts)

    def _commit(
        self,
        candidate: Candidate,
        attempt: int,
        parent: Version,
        *,
        score: Score,
        verdict: gate.Verdict,
        message: str,
    ) -> Submission:
        fact = commit(
            self._lineage,
            candidate.files,
            version=next_version(self._reader, self._lineage),
            parent=parent.version,
            attempt=attempt,
            score=score,
            verdict=ev.GateDecided(attempt, **_figures(verdict)),
            direction=self._session.pursuit.id,
            name=self._session.pursuit.name or _first_line(message) or f"attempt {attempt}",
            message=message,
        )
        self.step += 1
        self._session.record(fact, ev.StepStarted(self.step, fact.version))
        return Submission(attempt, **_figures(verdict), version=fact.version)

    # --- the rest ------------------------------------------------------------------------

    async def seed(
        self, files: Mapping[str, bytes], message: str, meanwhile: Callable[[], Awaitable[None]]
    ) -> ev.VersionCommitted | Score:
        """Score the seed and make it v0; its failing score when it is not correct.

        No rounds mend what a bad moment makes of its figures, and it is slow: what `meanwhile` measures lies between
        two evaluations, which share the patience of one.
        """
        candidate = intake.store(files, self._candidates)
        patience_s = self._whole_patience_s / 2
        self._session.doing("scoring the seed")
        async with self._scorers.lane(first=True) as host:
            score = await host.score(
                candidate.folder, then_baselines=True, patience_s=patience_s, on_event=self.on_event
            )
        log = self._keep(Path("attempts") / "a0.log", score.log)
        score = replace(score, log=log, source_hash=candidate.source_hash)
        if not score.correct:
            return score
        if self._reader.attempt(0) is None:
            name, hash_ = "the seed", candidate.source_hash
            self._session.record(ev.AttemptScored(0, 0, None, SEED_DIRECTION, name, hash_, score, "", log, message))
        await meanwhile()
        if patience_s:
            self._session.doing("measuring the seed's figures")
            async with self._scorers.lane(first=True) as host:
                again = await host.score(candidate.folder, patience_s=patience_s, on_event=self.on_event)
            if not again.correct:
                return again
            flops = {c.name: c.flops for c in self._session.problem.configurations}
            score = settled(score, (), (), flops, self._session.problem.device, again)
        verdict = ev.GateDecided(0, "improved", "the seed")
        fact = commit(
            self._lineage,
            candidate.files,
            version=0,
            parent=None,
            attempt=0,
            score=score,
            verdict=verdict,
            direction=SEED_DIRECTION,
            name="the seed",
            message=message,
        )
        self.step = 1
        self._session.record(fact, ev.StepStarted(1, 0))
        return fact

    async def profile(self, configurations: Sequence[str] | None) -> Profile:
        """Profile the workspace; journaled."""
        names = self._names(configurations)
        async with self._busy:
            candidate = self._take()
            async with self._scorers.lane(first=True) as host:
                found = await host.profile(candidate.folder, configurations=names, on_event=self.on_event)
        log = self._keep(Path("profiles") / f"{candidate.source_hash[:24]}.log", found.log)
        self._session.record(ev.Profiled(candidate.source_hash, found.text, found.facts, log))
        return Profile(candidate.source_hash, found.text, found.facts, log)

    def restore(self, version: int) -> None:
        """Put a version's sources into the workspace; what lay there stays under artifacts/candidates."""
        files = self._lineage.files(version)
        try:
            self._take()
        except Refused:
            self._session.doing("the workspace held no sources worth keeping")
        intake.replace(files, self._session.workspace)

    def on_event(self, event: Mapping[str, Any]) -> None:
        """One line of progress from the scorer, shown live."""
        if event.get("event") == "output":
            self._session.output(str(event.get("text", "")))
        elif event.get("event") == "progress":
            self._session.doing(_progress(event))
            if event.get("phase") == "time" and event.get("text"):
                self._session.output(f"{event.get('configuration')}: {event['text']}\n")

    def _take(self) -> Candidate:
        return intake.take(self._session.workspace, self._candidates)

    def _names(self, configurations: Sequence[str] | None) -> list[str] | None:
        if not configurations:
            return None
        try:
            return [c.name for c in self._session.problem.select(list(configurations))]
        except ConfigError as error:
            raise Refused(str(error)) from error

    def _rivals(self) -> Rivals:
        incumbent = self._reader.incumbent()
        assert incumbent is not None, "the seed is committed before the first turn"
        proven = incumbent
        while proven.verdict != "improved" and proven.parent is not None:
            parent = self._reader.version(proven.parent)
            assert parent is not None
            proven = parent
        return Rivals(incumbent, proven if proven.version != incumbent.version else None)

    def _folder_of(self, version: int) -> Path:
        """A version's sources on the disk; git is asked once, and again when somebody tidied them away."""
        folder = self._folders.get(version)
        if folder is None or not folder.is_dir():
            folder = self._folders[version] = intake.store(self._lineage.files(version), self._candidates).folder
        return folder

    def _keep(self, place: Path, text: str) -> str:
        """Write a log under artifacts/; returns its path in the run's folder, or "" when there is nothing to keep."""
        if not text:
            return ""
        path = self._artifacts / place
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, "utf-8")
        return str(path.relative_to(self._session.folder.path))

    def _keep_rounds(self, attempt: int, configurations: Sequence[str], rounds: Sequence[gate.Round]) -> None:
        value = {"configurations": list(configurations), "rounds": [asdict(r) for r in rounds]}
        self._keep(Path("attempts") / f"a{attempt}.rounds.json", json.dumps(value))


def _incorrect(score: Score) -> gate.Verdict:
    return gate.Verdict("incorrect", f"{score.stage}: {score.reason}")


def _figures(verdict: gate.Verdict) -> dict[str, Any]:
    return {
        "verdict": verdict.verdict,
        "reason": verdict.reason,
        "ratio": verdict.ratio,
        "low": verdict.low,
        "high": verdict.high,
        "rounds": verdict.rounds,
    }


def _progress(event: Mapping[str, Any]) -> str:
    verbs = {"build": "building", "check": "checking", "time": "timing", "profile": "profiling"}
    phase = verbs.get(str(event.get("phase")), str(event.get("phase", "scoring")))
    count = f"{event.get('done')}/{event.get('of')}" if event.get("of") else ""
    return " ".join(p for p in (phase, event.get("configuration") or "", count, event.get("text") or "") if p)


def _first_line(text: str) -> str:
    return text.strip().splitlines()[0][:80] if text.strip() else ""
