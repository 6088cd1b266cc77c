"""Measuring one candidate or baseline: its calls, checked and timed, in passes of one fresh worker each.

One rule: every timed call is a checked call, and a candidate cannot tell which call is which: hold-outs and full checks
hide among the timed ones, and a later pass asks as a first one does.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

from engine.scorer.bench import Bench, Emit, Options, Tally
from engine.scorer.problem import Configuration
from engine.scorer.quiet import Listening
from engine.scorer.timing import Passes, Timing, agree, quantile, repeat, summarise
from engine.scorer.worker import Runs

_RANDOM = random.SystemRandom()
# Calls whose rows are all checked, drawn by lot; of the others a sample of every head is.
FULL_CHECKS = 1 / 40


def measure(
    bench: Bench, starts: Callable[[], Runs], options: Options, emit: Emit, tally: Tally, baseline: str = ""
) -> dict[str, tuple[Timing, float]]:
    """Check and time each configuration of `options`: its timing and its largest error, by name.

    `starts` begins a fresh worker; `baseline` names the one that is measured. Raises CandidateFailed, or Cancelled.
    """
    return _Measurement(bench, starts, options, emit, tally, baseline).take()


def vary(holdout: Configuration) -> Configuration:
    """A hold-out shape with its length and mask drawn anew, so that its list tells nobody what will be asked."""
    seqlen = holdout.seqlen - _RANDOM.randrange(holdout.seqlen // 8 + 1)
    causal = _RANDOM.random() < 0.5
    name = f"hold-out (batch {holdout.batch}, seqlen {seqlen}, heads {holdout.heads_q}/{holdout.heads_kv}"
    return replace(holdout, name=f"{name}, {'causal' if causal else 'full'})", seqlen=seqlen, causal=causal)


class _Measurement:
    """What was found so far, and how to find more."""

    def __init__(
        self, bench: Bench, starts: Callable[[], Runs], options: Options, emit: Emit, tally: Tally, baseline: str
    ) -> None:
        self._bench, self._starts, self._options = bench, starts, options
        self._emit, self._tally, self._baseline = emit, tally, baseline
        self._plan, self._shapes = bench.device.evaluating.among(len(options.configurations)), options.configurations
        self._found = {shape.name: Passes() for shape in self._shapes}

    def take(self) -> dict[str, tuple[Timing, float]]:
        """As many passes as the plan wants, and the patience allows."""
        begin = time.monotonic()
        # A baseline is trusted, and need not serve shapes that nobody times.
        holdouts = () if self._baseline else self._bench.judge.problem.holdouts
        self._pass(extra=_scattered(holdouts, self._shapes))
        while not self._enough(time.monotonic() - begin):
            self._pass()
        counted = self._latest() if self._on_record() and self._known() else self._found
        self._tally.disturbed = sum(found.disturbed for found in counted.values())
        return {s.name: (summarise(s, counted[s.name].calls), counted[s.name].error) for s in self._shapes}

    def _enough(self, age_s: float) -> bool:
        """Whether the figures are known well enough, or were asked for long enough."""
        made = len(self._found[self._shapes[0].name].calls)
        if made < self._plan.passes and age_s < self._plan.seconds:
            return False
        # Patience ends with the pass whose end is nearest to it.
        late = age_s + age_s / made / 2 >= self._options.patience_s
        return self._plan.passes == 1 or late or self._known()

    def _known(self) -> bool:
        """Whether the figures agree with this device's record of the candidate or, without one, with each other."""
        if record := self._on_record():
            latest = self._latest()
            return agree([latest[s.name].figures for s in self._shapes], record)
        return repeat([self._found[s.name].figures for s in self._shapes])

    def _latest(self) -> dict[str, Passes]:
        """What stands against a record: as many passes as an evaluation makes. The low end of more falls with each."""
        return {name: found.last(self._plan.passes) for name, found in self._found.items()}

    def _on_record(self) -> list[float]:
        """The recorded latency of each configuration; empty without a record of them all."""
        record = None if self._baseline else self._options.recorded
        known = record.latency_us if record else {}
        return [known[s.name] for s in self._shapes] if all(s.name in known for s in self._shapes) else []

    def _pass(self, extra: Mapping[str, list[Configuration]] | None = None) -> None:
        """Each configuration for a moment, with one worker. The first pass, which has `extra`, checks the most."""
        worker = Listening(self._starts(), self._bench.device.disturbed)
        try:
            for done, shape in enumerate(self._shapes):
                event = {"event": "progress", "configuration": shape.name, "done": done, "of": len(self._shapes)}
                if extra is not None:
                    self._emit({**event, "phase": "check", "text": self._baseline})
                calls, error = self._one(worker, shape, None if extra is None else extra.get(shape.name, []))
                found = self._found[shape.name]
                found.add(calls, error)
                text = f"{self._baseline} {shape.flops / (quantile(found.figures) * 1e3):.1f} GFLOPS".strip()
                self._emit({**event, "phase": "time", "done": done + 1, "text": text})
        finally:
            worker.close()

    def _one(
        self, worker: Listening, shape: Configuration, extra: list[Configuration] | None
    ) -> tuple[list[tuple[float, bool]], float]:
        """One configuration's calls in a row: the time of each and whether it was quiet, and the largest error.

        In a first pass the hold-outs given to it hide at random places in between, and one call, drawn by lot once it
        is known how many there are, has all its rows checked. A later pass, which a candidate cannot tell from a first
        one, checks a sample of each call's rows, and all of some.
        """
        plan, options, tally, drawn = self._plan, self._options, self._tally, -1

        def draw(first_us: float) -> bool:
            nonlocal drawn
            if extra is None:
                return _RANDOM.random() < FULL_CHECKS
            drawn = _RANDOM.randrange(plan.more_calls(first_us) + 1)
            return drawn == 0

        first, error = self._bench.call(worker, shape, options, tally, full=draw)
        more = plan.more_calls(first)
        times = [] if more else [(first, worker.quiet)]
        calls = [(shape, number + 1 == drawn) for number in range(more)] + [(holdout, True) for holdout in extra or ()]
        _RANDOM.shuffle(calls)
        for asked, full in calls:
            all_rows = full or (extra is None and draw(first))
            latency, seen = self._bench.call(worker, asked, options, tally, full=all_rows)
            if not asked.holdout:
                times.append((latency, worker.quiet))
                error = max(error, seen)
        return times, error


def _scattered(holdouts: Sequence[Configuration], shapes: Sequence[Configuration]) -> dict[str, list[Configuration]]:
    """Each hold-out shape at a configuration drawn by lot, among whose timed calls it will hide."""
    extra: dict[str, list[Configuration]] = {}
    for holdout in holdouts:
        extra.setdefault(_RANDOM.choice(shapes).name, []).append(vary(holdout))
    return extra
