"""An operator that lives a week fast: an attempt a turn amid as much talk and tool use as an agent makes of it.

week.json in the run's folder: {"attempts", "events", "commits"}. Its words are drawn from a small vocabulary, so that
searches find common words, rare ones and none; what it writes lies in the journal as an agent's does.
"""

import json
import random

from scripted_operator import Evaluate, Submit

from engine.record import events as ev
from engine.session import Exhausted, Session

VOCABULARY = """
    tile key query softmax rescale register spill occupancy latency cache line prefetch barrier swizzle bank conflict
    unroll vector lane warp group pipeline stage exponent maximum row column mask causal head group tensor core fused
    multiply add shared global memory store load wait arrive commit ping pong persistent schedule balance tail wave
"""
WORDS = VOCABULARY.split()


class Week:
    """The operator."""

    name = "week"

    def __init__(self, session: Session) -> None:
        plan = json.loads((session.folder.path / "week.json").read_text())
        self.attempts, self.events, self.commits = plan["attempts"], plan["events"], plan["commits"]
        self.every = max(1, self.attempts // self.commits)
        self.best = 1.0
        session.tools = {t.name: t for t in (Evaluate(), Submit())}

    async def turn(self, session: Session) -> None:
        done = session.reader.counts()[1] - 1
        if done >= self.attempts:
            raise Exhausted("the week is over")
        chance = random.Random(done)
        for directive in session.inbox():
            session.answer(directive.id, obeyed=False, words="the week goes as planned")
        kind = chance.randrange(40)
        session.pursue(f"direction-{kind}", f"direction {kind}", "playbook", _words(chance, 8))
        due = self.events * (done + 1) // self.attempts - session.reader.last_seq()
        self._talk(session, chance, due // 2)
        climbs = done % self.every == self.every - 1
        speed = self.best * (1.05 if climbs else chance.uniform(0.5, 0.98))
        wrong = "" if climbs or chance.random() < 0.8 else " // wrong"
        text = f"// speed: {speed:.4f} turn {done}{wrong}\n" + "".join(f"// {_words(chance, 10)}\n" for _ in range(5))
        (session.workspace / "attention.cpp").write_text(text)
        await session.call("evaluate", {"suite": "quick"})
        if climbs:
            done_well = await session.call("submit", {"message": f"climb at {done}"})
            self.best = speed if done_well.ok else self.best
        due = self.events * (done + 1) // self.attempts - session.reader.last_seq()
        self._talk(session, chance, due)

    def _talk(self, session: Session, chance: random.Random, count: int) -> None:
        """What an agent says, reads and pays between two measurements, in as many transactions as it has replies."""
        facts: list[ev.Event] = []
        while len(facts) < count:
            call, seen = f"w{session.turn}.{len(facts)}", _words(chance, 40)
            rare = f" needle{session.turn}" if chance.random() < 0.01 else ""
            facts += [
                ev.Said(_words(chance, 25) + rare, session.turn),
                ev.ToolStarted(
                    call, "read", {"path": "attention.cpp", "start_line": chance.randrange(900)}, session.turn
                ),
                ev.ToolFinished(call, "read", True, seen, 0.01),
                ev.Spent("turn", 900, 200, 40_000, 300, 0.01, "a-model"),
            ]
        for begin in range(0, count, 12):
            session.record(*facts[begin : min(begin + 12, count)])


def _words(chance: random.Random, count: int) -> str:
    return " ".join(chance.choices(WORDS, k=count))


def create(session: Session) -> Week:
    return Week(session)
