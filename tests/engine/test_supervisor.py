"""The supervisor over a real journal: one step at a time, each explained and later judged."""

import pytest

from engine.inbox import Inbox
from engine.record import events as ev
from engine.record.config import SupervisorConfig
from engine.record.journal import Journal
from engine.record.reader import Reader
from engine.record.scores import Score
from engine.supervisor import Review, Supervisor

RULE = SupervisorConfig(stall_nudge=3, stall_review=6, stall_restore=9, stall_pause=12, cooldown=2)


class Case:
    """A run with a journal, offered directions and nothing behind it."""

    def __init__(self, path, reviewer=None):
        self.journal = Journal.create(path / "journal.db", "case")
        self.reader = Reader(path / "journal.db")
        self.inbox = Inbox(self.journal, self.reader)
        self.inbox.offer([(f"d{n}", f"direction {n}", "") for n in range(10)], "playbook")
        self.supervisor = Supervisor(self.journal, self.reader, self.inbox, RULE, reviewer)
        self.attempts = 0
        self.best(0, None)

    def attempt(self, *, tflops=0.9, ratio=None, source=""):
        self.attempts += 1
        n = self.attempts
        score = Score("p", True, "ok", "", "fake", 0.1, (), tflops)
        self.journal.append(ev.AttemptScored(n, 1, 0, f"t{n}", f"try {n}", source or f"s{n}", score))
        if ratio:
            self.journal.append(ev.GateDecided(n, "regressed", "slower", ratio, ratio, ratio, 2))

    def best(self, version, ratio):
        self.attempt(tflops=2.0)
        score = Score("p", True, "ok", "", "fake", 0.1, (), 2.0)
        parent = None if version == 0 else version - 1
        self.journal.append(
            ev.VersionCommitted(
                version, f"c{version}", parent, self.attempts, "improved", "d9", f"best {version}", score, ratio
            )
        )

    async def tries(self, count, **fields):
        steps = []
        for _ in range(count):
            self.attempt(**fields)
            steps.append(await self.supervisor.look(60.0))
        return [s.level if s else None for s in steps]


@pytest.fixture
def case(tmp_path):
    made = Case(tmp_path)
    yield made
    made.reader.close()
    made.journal.close()


async def test_the_ladder_is_climbed_one_step_at_a_time(case):
    assert await case.tries(12) == [
        None,
        None,
        "nudge",
        None,
        None,
        "review",
        None,
        None,
        "restore",
        None,
        None,
        "pause",
    ]
    steps = case.reader.interventions()[::-1]
    assert [s.level for s in steps] == ["nudge", "review", "restore", "pause"]
    assert all(s.saw.startswith("stall: no new best for") for s in steps)
    assert len(steps[1].directions) >= 3
    state = case.reader.tail(1, kinds=("state",))[0].event()
    assert state == ev.StateChanged("paused", "the supervisor calls you: no new best for 12 candidates")


async def test_after_a_pause_the_ladder_starts_again(case):
    await case.tries(12)
    assert await case.tries(4) == [None, None, "nudge", None]


async def test_a_review_names_untried_directions_to_the_operator(case):
    case.journal.append(case.inbox.mark("d0", "vetoed", "by ada"))
    case.journal.append(ev.DirectionChanged("d1", "direction 1", "playbook", "pursued"))
    await case.tries(6)
    nudge, review = case.inbox.take(7)
    assert nudge.source == review.source == "supervisor"
    assert len(review.directions) == 3
    assert not {"d0", "d1"} & set(review.directions)
    assert "direction" in review.text


async def test_near_misses_and_general_advice_fill_a_review(tmp_path):
    with Journal.create(tmp_path / "journal.db", "x") as journal, Reader(tmp_path / "journal.db") as reader:
        case = Case.__new__(Case)
        case.journal, case.reader, case.attempts = journal, reader, 0
        case.inbox = Inbox(journal, reader)
        case.supervisor = Supervisor(journal, reader, case.inbox, RULE)
        case.best(0, None)
        journal.append(ev.DirectionChanged("t2", "wider loads", "playbook", "pursued"))
        case.attempt(ratio=0.985)
        await case.tries(5)
        review = reader.interventions()[0]
        assert review.directions[0] == "wider loads again, on v0 best 0 (was 0.985x)"
        assert len(review.directions) == 3


async def test_a_new_best_closes_the_alert_judges_the_step_and_resets(case):
    await case.tries(3)
    assert [a.severity for a in case.reader.alerts(open_only=True)] == ["info"]
    case.best(1, 1.25)
    await case.supervisor.look(120.0)
    assert case.reader.alerts(open_only=True) == []
    assert case.reader.alerts()[0].closed_reason == "v1 is a new best"
    step = case.reader.interventions()[0]
    assert (step.helped, step.how) == (True, "v1 best 1 at 1.250x came 1 attempt later")
    assert await case.tries(3) == [None, None, "nudge"]


async def test_a_step_without_effect_is_judged_so(case):
    await case.tries(6)
    case.attempt()
    await case.supervisor.look(60.0)
    nudge = case.reader.interventions()[1]
    assert (nudge.helped, nudge.how) == (False, "no new best before the next step")


async def test_a_worse_alert_takes_the_place_of_a_milder_one(case):
    await case.tries(6)
    alerts = case.reader.alerts()
    assert [(a.alert, a.severity, a.closed_by) for a in alerts] == [(2, "warning", None), (1, "info", "supervisor")]


async def test_a_moved_head_starts_the_ladder_again(case):
    case.best(1, 1.1)
    await case.tries(2)
    case.journal.append(ev.HeadMoved(1, 0, "rollback", 1))
    assert await case.tries(3) == [None, None, "nudge"]


async def test_the_clock_counts_from_the_last_best_in_running_time(case):
    case.supervisor._rule = SupervisorConfig(stall_minutes=10.0)
    case.attempt()
    assert await case.supervisor.look(0.0) is None
    assert await case.supervisor.look(290.0) is None
    step = await case.supervisor.look(310.0)
    assert step is not None
    assert step.level == "nudge"


async def test_a_model_review_is_used_where_there_is_one(tmp_path):
    asked = []

    async def reviewer(digest, known):
        asked.append((digest, len(known)))
        return Review("memory bound", (("d3", "pack K"), ("", "prefetch"), ("", "fewer barriers")))

    case = Case(tmp_path, reviewer)
    await case.tries(6)
    assert len(asked) == 1
    assert "best so far: v0 best 0" in asked[0][0]
    assert case.reader.interventions()[0].diagnosis == "memory bound"
    case.reader.close()
    case.journal.close()
