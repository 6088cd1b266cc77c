"""The playbook operator: works through a catalogue of directions with the same tools as every other operator.

One turn tries one thing: a person's wish, what the supervisor named, the direction worth most by the facts and by
what was learned, or a move of the parameter search. The workspace holds the incumbent before and after it.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import islice
from typing import Any

from engine import intake
from engine.operators.playbook import edits, race, steer, sweep
from engine.operators.playbook import words as say
from engine.operators.playbook.catalogue import Catalogue, Direction
from engine.operators.playbook.choose import Scene, all_facts, assess, choose
from engine.operators.playbook.edits import Edit
from engine.operators.playbook.memory import Learned, Memory, Trial, compare
from engine.record.events import Source, clip
from engine.record.frozen import dataclass
from engine.record.reader import Version
from engine.record.scores import Score
from engine.session import Directive, Exhausted, Session

PROMISING = 0.985  # the recorded ratio from which a direction is worth the gate's rounds
PAYS = 1.004  # the same for a parameter move, of which there are many
SLOW_S = 2.0  # one call of everything: what is slower is slow everywhere, and the quick suite is profiled
STALE = 1.5  # the incumbent is this much faster than when it was last profiled: look again
SKIPS = 20


@dataclass(frozen=True, slots=True)
class Try:
    """One thing to try: its edits, why, and from which recorded ratio on it goes to the gate."""

    id: str
    title: str
    why: str
    hypothesis: str
    edits: tuple[Edit, ...]
    knowledge: tuple[str, ...] = ()
    source: Source = "playbook"
    enough: float = PROMISING
    again: bool = False


class Playbook:
    """The operator. Everything it knows of the past it reads from the journal, so a resumed run goes on."""

    name = "playbook"

    def __init__(self, catalogue: Catalogue) -> None:
        self.catalogue = catalogue
        self._memory = Memory()
        self._asked: deque[Directive] = deque()
        self._wanted: list[str] = []
        self._pins_done: set[str] = set()
        self._profiled: float | None = None
        self._failed = False

    async def turn(self, session: Session) -> None:
        """Try one thing. Raises Exhausted when catalogue and parameter space are done, and nothing was left open."""
        self._asked.extend(session.inbox())
        incumbent = session.incumbent
        if incumbent is None:
            raise Exhausted("there is no incumbent to vary")
        scene = await self._look(session, incumbent)
        for _ in range(SKIPS):
            chosen = self._next(session, scene)
            if chosen is None:
                return
            why = self._pointless(chosen, scene)
            if not why:
                several = self._moves(session, scene) if chosen.id.startswith(sweep.PREFIX) else []
                if len(several) > 1 and chosen.source == "playbook":
                    await self._race(session, several, scene, incumbent)
                else:
                    await self._attempt(session, chosen, scene, incumbent)
                return
            session.skip(chosen.id, chosen.title, why)
            session.say(f"Skipped {chosen.title}: {why}.")
            scene = replace(scene, repeats={**scene.repeats, chosen.id: why})

    # --- what there is -------------------------------------------------------------------

    async def _look(self, session: Session, incumbent: Version) -> Scene:
        """The incumbent's sources in the workspace, its facts (profiled when that is worth it), what was learned."""
        files = session.lineage.files(incumbent.version)
        sources = {name: data.decode("utf-8", "replace") for name, data in files.items()}
        if not _holds(session, files):
            await session.call("lineage", {"action": "restore", "rev": "best"})
        facts = session.facts()
        if self._wants_profile(facts, incumbent):
            await session.call("profile", _profiled(session, incumbent))
            facts = session.facts()
            self._profiled, self._failed = incumbent.geomean_tflops, False
        learned = self._memory.recall(session.reader)
        return Scene(sources, all_facts({**facts, **_problem_facts(session)}, sources), learned, session.vetoed)

    def _wants_profile(self, facts: Mapping[str, Any], incumbent: Version) -> bool:
        """Once at the start; then when the incumbent moved far, or a try failed and nobody looked at it yet."""
        if not any(name.startswith("machine.") for name in facts):
            return True
        if any(name.startswith("profile.") for name in facts):
            return False
        moved = (incumbent.geomean_tflops or 0.0) / self._profiled if self._profiled else STALE
        return self._failed or moved >= STALE

    # --- what to do next -----------------------------------------------------------------

    def _next(self, session: Session, scene: Scene) -> Try | None:
        while self._asked:
            directive = self._asked.popleft()
            if chosen := self._obey(session, directive, scene):
                return chosen
        if chosen := self._pinned(session, scene):
            return chosen
        ranked = choose(self.catalogue, scene, self._wanted)
        again = not ranked
        if again:
            ranked = choose(self.catalogue, replace(scene, again=True))
        if ranked:
            best = ranked[0]
            wanted = best.direction.id in self._wanted
            self._wanted = [w for w in self._wanted if w != best.direction.id]
            why = say.choice(best, ranked[1:], wanted=wanted)
            return replace(_try(best.direction, why, "supervisor" if wanted else "playbook"), again=again)
        return self._move(session, scene)

    def _obey(self, session: Session, directive: Directive, scene: Scene) -> Try | None:
        if directive.source == "supervisor":
            self._reorder(session, directive, scene)
            return None
        wish = steer.understand(directive.text, self.catalogue, edits.parameters(scene.sources))
        chosen, reason = self._wished(wish, directive, scene)
        if chosen is not None:
            session.answer(directive.id, obeyed=True, words=f"I try {chosen.id} now: {chosen.title}")
            return chosen
        session.answer(directive.id, obeyed=False, words=reason)
        session.say(f"I do not follow “{clip(directive.text, say.BRIEF)}”: {reason}.")
        return None

    def _wished(self, wish: steer.Wish, directive: Directive, scene: Scene) -> tuple[Try | None, str]:
        """What a person's wish comes to, or why it comes to nothing."""
        why, reason = f"you asked: {clip(directive.text, say.BRIEF)}", wish.reason
        candidates: list[Try] = []
        if wish.settings:
            candidates.append(_tune(scene.sources, sweep.Move(wish.settings), why, source="person"))
        for direction in wish.directions[:5]:
            found = assess(direction, scene, asked=True)
            if found.possible:
                candidates.append(_try(direction, why, "person"))
            reason = reason or (f"{direction.id} ({direction.title}) is not possible now: {found.barred}")
        for chosen in candidates:
            repeat = self._pointless(chosen, scene)
            if not repeat:
                return chosen, ""
            reason = f"{chosen.title}: {repeat}"
        return None, reason

    def _reorder(self, session: Session, directive: Directive, scene: Scene) -> None:
        found = [self.catalogue.of(name) for name in directive.directions]
        wanted = [d.id for d in found if d is not None and assess(d, scene).possible]
        self._wanted = wanted + [w for w in self._wanted if w not in wanted]
        words = f"these come first now: {', '.join(wanted)}" if wanted else "none of these is possible or new here"
        session.answer(directive.id, obeyed=bool(wanted), words=words)

    def _pinned(self, session: Session, scene: Scene) -> Try | None:
        for name in session.pinned:
            direction = self.catalogue.of(name)
            if direction is None or name in self._pins_done:
                continue
            self._pins_done.add(name)
            found = assess(direction, scene, asked=True)
            if found.possible:
                return _try(direction, "you pinned it", "person")
            session.skip(direction.id, direction.title, found.barred)
        return None

    def _move(self, session: Session, scene: Scene) -> Try:
        move = next(self._untried(scene), None)
        if move is None:
            patient = choose(self.catalogue, replace(scene, again=True, patient=True))
            if patient:
                direction = patient[0].direction
                return replace(_try(direction, say.PATIENT, "playbook"), again=True, enough=0.0)
            raise Exhausted("every direction and every combination of the parameters was tried")
        before = [t for t in scene.learned.trials if t.direction.startswith(sweep.PREFIX)]
        return _tune(scene.sources, move, say.move(move, len(before)))

    def _moves(self, session: Session, scene: Scene) -> list[Try]:
        """As many moves of the search as can be measured side by side here."""
        before = len([t for t in scene.learned.trials if t.direction.startswith(sweep.PREFIX)])
        moves = islice(self._untried(scene), session.width)
        return [_tune(scene.sources, move, say.move(move, before + n)) for n, move in enumerate(moves)]

    def _untried(self, scene: Scene) -> Iterator[sweep.Move]:
        def tried(move: sweep.Move) -> bool:
            made = sweep.edits_of(scene.sources, move)
            edited = edits.apply(scene.sources, made) if not isinstance(made, str) else None
            return edited is None or edited.sources is None or bool(_known(scene.learned, edited.sources))

        return sweep.proposals(scene.sources, self.catalogue.search, scene.learned.trials, tried)

    # --- trying it -----------------------------------------------------------------------

    def _pointless(self, chosen: Try, scene: Scene) -> str:
        """Why there is nothing to measure, or ""."""
        edited = edits.apply(scene.sources, chosen.edits)
        if edited.sources is None:
            return edited.reason
        known = _known(scene.learned, edited.sources, glances=not chosen.again)
        return f"a{known.attempt} had exactly these sources: {say.outcome(known)}" if known else ""

    async def _attempt(self, session: Session, chosen: Try, scene: Scene, incumbent: Version) -> None:
        """One candidate, from its edits to its outcome."""
        after = edits.apply(scene.sources, chosen.edits).sources or {}
        session.pursue(chosen.id, chosen.title, chosen.source, chosen.why)
        session.say(say.opening(chosen.title, chosen.why, chosen.hypothesis))
        for page in chosen.knowledge:
            await session.call("knowledge_read", {"page": page})
        if await self._edit(session, scene.sources, after):
            await self._measure(session, chosen, incumbent, scene)
        else:
            session.conclude("skipped", "the workspace could not be edited")
            await _restore(session)

    async def _race(self, session: Session, several: Sequence[Try], scene: Scene, incumbent: Version) -> None:
        """Moves measured side by side; those that promise go to the gate, the best first, until one is committed."""
        ranked = await race.measure(session, several, scene.sources, incumbent)
        for place, (chosen, ratio) in enumerate(ranked):
            session.pursue(chosen.id, chosen.title, chosen.source, chosen.why)
            session.say(say.promising(ratio, incumbent.version, paired=True))
            after = edits.apply(scene.sources, chosen.edits).sources or {}
            if await self._edit(session, scene.sources, after):
                await self._submit(session, chosen, incumbent)
            best = session.incumbent
            if best is not None and best.version != incumbent.version:
                race.overtaken(session, [t for t, _ in ranked[place + 1 :]], best.version)
                return

    async def _edit(self, session: Session, before: edits.Sources, after: edits.Sources) -> bool:
        for name in edits.changed(before, after):
            pieces = edits.hunks(before[name], after[name]) if name in before else None
            if pieces is None:
                calls: list[tuple[str, dict[str, Any]]] = [("write", {"path": name, "content": after[name]})]
            else:
                calls = [("edit", {"path": name, "old_string": old, "new_string": new}) for old, new in pieces]
            for tool, arguments in calls:
                if not (await session.call(tool, arguments)).ok:
                    return False
        return True

    async def _measure(self, session: Session, chosen: Try, incumbent: Version, scene: Scene) -> None:
        result = await session.call("evaluate", {"suite": "quick", "hypothesis": chosen.hypothesis})
        if not result.ok:
            session.conclude("skipped", result.text)
            session.say(f"No measurement of {chosen.title}: {result.text}")
            await _restore(session)
            return
        score = Score.from_json(result.data)
        if not score.correct:
            await self._reject(session, "incorrect", say.incorrect(chosen.title, score))
            return
        paired = result.data.get("paired_ratio")
        ratio = paired or (compare(score, incumbent.score) or 0.0) / scene.learned.optimism()
        if ratio < chosen.enough:
            await self._reject(session, "regressed", say.regressed(chosen.title, ratio, incumbent.version, score))
            return
        session.say(say.promising(ratio, incumbent.version, paired=paired is not None))
        await self._submit(session, chosen, incumbent)

    async def _submit(self, session: Session, chosen: Try, incumbent: Version) -> None:
        message = f"{chosen.title}\n\n{chosen.hypothesis}"
        result = await session.call("submit", {"message": message, "hypothesis": chosen.hypothesis})
        if not result.ok:
            await self._reject(session, "skipped", f"{chosen.title} was not judged: {result.text}")
        elif result.data.get("version") is None:
            self._failed = True
            session.say(say.refused(chosen.title, result.data, incumbent.version))
            await _restore(session)
        else:
            session.say(say.committed(chosen.title, result.data, incumbent.version))

    async def _reject(self, session: Session, state: str, words: str) -> None:
        self._failed = True
        session.conclude(state, words)
        session.say(words)
        await _restore(session)


def _try(direction: Direction, why: str, source: Source) -> Try:
    d = direction
    hypothesis = f"{d.hypothesis} Measured before: {d.measured}" if d.measured else d.hypothesis
    return Try(d.id, d.title, why, hypothesis, d.edits, d.knowledge, source)


def _tune(sources: edits.Sources, move: sweep.Move, why: str, *, source: Source = "playbook") -> Try:
    made = sweep.edits_of(sources, move)
    if isinstance(made, str):
        made = []
    hypothesis = f"{move.title}: the best tile or unroll depends on this machine's caches and on the code around it."
    return Try(move.id, move.title, why, hypothesis, tuple(made), (), source, PAYS)


def _known(learned: Learned, sources: edits.Sources, *, glances: bool = True) -> Trial | None:
    """The trial that makes measuring these sources again pointless, or None. `glances`: one that saw no gate counts."""
    source_hash = intake.hash_of({name: text.encode() for name, text in sources.items()})
    for trial in reversed(learned.with_sources(source_hash)):
        if trial.blurred or (trial.glanced and not glances):
            continue
        if trial.outcome == "incorrect" or (trial.outcome is not None and trial.parent == learned.head):
            return trial
        if trial.outcome == "regressed" and trial.version is None:
            return trial
    return None


def _holds(session: Session, files: Mapping[str, bytes]) -> bool:
    """Whether the workspace holds exactly these sources."""
    workspace = session.workspace
    present = {p.name for p in workspace.iterdir() if p.is_file()} if workspace.is_dir() else set[str]()
    return present == set(files) and all((workspace / n).read_bytes() == data for n, data in files.items())


def _profiled(session: Session, incumbent: Version) -> dict[str, Any]:
    """What to profile: everything, or the quick suite of an incumbent so slow that one look at all is a long wait."""
    one_call_s = sum(c.latency_us or 0.0 for c in incumbent.score.configurations) / 1e6
    quick = [c.name for c in session.problem.suite("quick")] if one_call_s > SLOW_S else []
    return {"configurations": quick} if quick else {}


def _problem_facts(session: Session) -> dict[str, Any]:
    """The shapes of the problem: how many query heads share a key head, and the lengths."""
    shapes = session.problem.configurations
    lengths: Sequence[int] = [c.seqlen for c in shapes]
    return {
        "problem.group": max(c.heads_q // c.heads_kv for c in shapes),
        "problem.shortest": min(lengths),
        "problem.longest": max(lengths),
    }


async def _restore(session: Session) -> None:
    await session.call("lineage", {"action": "restore", "rev": "best"})
