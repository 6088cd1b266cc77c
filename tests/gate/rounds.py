"""Made-up rounds for the gate's tests: what a machine with a known truth and a known noise would measure."""

from __future__ import annotations

import math
import random
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from engine import gate
from engine.gate import Failure, More, Round, Verdict
from engine.record.config import GateConfig
from engine.record.scores import Score

CORRECT = Score("mha_cpu", True, "ok", "", "test", 1.0)
RULE = GateConfig()


@dataclass(frozen=True)
class Machine:
    """Each source's time has a normal error of `noise` in each round, and a share of them is also hit by a slowdown.

    With several `configurations` each of them errs by `own_noise` too.
    """

    noise: float
    configurations: int = 1
    own_noise: float = 0.0
    hit_share: float = 0.0
    hit_size: float = 0.0
    seconds: float = 0.5

    def rounds(self, rng: random.Random, speeds: Sequence[float], count: int) -> list[Round]:
        """`count` rounds of sources with these speeds (1.0 is the incumbent's)."""
        return [self._round(rng, speeds) for _ in range(count)]

    def _round(self, rng: random.Random, speeds: Sequence[float]) -> Round:
        rows = tuple(self._row(rng, speed) for speed in speeds)
        return Round(tuple(range(len(speeds))), rows, (None,) * len(speeds), self.seconds)

    def _row(self, rng: random.Random, speed: float) -> tuple[float, ...]:
        shared = self._error(rng)
        own = (rng.gauss(0, self.own_noise) if self.own_noise else 0.0 for _ in range(self.configurations))
        return tuple(1000 / speed * math.exp(shared + error) for error in own)

    def _error(self, rng: random.Random) -> float:
        hit = abs(rng.gauss(0, self.hit_size)) if rng.random() < self.hit_share else 0.0
        return rng.gauss(0, self.noise) + hit


def judge(rng: random.Random, machine: Machine, *speeds: float, rule: GateConfig = RULE) -> Verdict:
    """The gate's verdict on sources of these speeds: candidate, incumbent and perhaps an anchor."""
    rounds: list[Round] = []
    while isinstance(decision := gate.decide(CORRECT, rounds, rule), More):
        rounds += machine.rounds(rng, speeds, decision.rounds)
    assert len(rounds) <= max(rule.max_rounds, rule.min_rounds)
    return decision


def tally(machine: Machine, speed: float, *, trials: int, seed: int = 1) -> tuple[Counter[str], float]:
    """How often each verdict fell on a candidate of this speed, and the mean number of rounds."""
    rng = random.Random(seed)
    verdicts = [judge(rng, machine, speed, 1.0) for _ in range(trials)]
    return Counter(v.verdict for v in verdicts), sum(v.rounds for v in verdicts) / trials


@dataclass(frozen=True)
class Session:
    """What 500 attempts did to a lineage. `true_change` is a logarithm; `reported` what the verdicts claimed."""

    commits: int
    false_improvements: int
    slower_matches: int
    true_change: float
    reported: float


def session(rng: random.Random, machine: Machine, draw: Callable[[random.Random], float], attempts: int) -> Session:
    """Attempt after attempt on the incumbent of the moment, the last proven-better version as the anchor."""
    incumbent = anchor = reported = 0.0
    commits = false = slower = 0
    for _ in range(attempts):
        effect = draw(rng)
        rivals = [incumbent] if anchor == incumbent else [incumbent, anchor]
        verdict = judge(rng, machine, *(math.exp(v) for v in (incumbent + effect, *rivals)))
        if not verdict.commits:
            continue
        commits += 1
        incumbent += effect
        if verdict.verdict == "improved":
            reported += math.log(verdict.ratio or 1.0)
            false += effect <= 0
            anchor = incumbent
        else:
            slower += effect < -RULE.match_margin
    return Session(commits, false, slower, incumbent, reported)


def one_round(*latency_us: float, failed: int | None = None, seconds: float = 0.1) -> Round:
    """One round over one configuration; the source `failed` crashed in it."""
    failures = tuple(Failure("crash", "SIGSEGV", "full_512") if i == failed else None for i in range(len(latency_us)))
    latency = tuple((None if i == failed else v,) for i, v in enumerate(latency_us))
    return Round(tuple(range(len(latency_us))), latency, failures, seconds)
