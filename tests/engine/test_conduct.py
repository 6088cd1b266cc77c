"""What an operator does between candidates: each rule, what does not count, and the ladder it climbs."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from engine.conduct import Conduct, Witness, signs, steady
from engine.detectors import Trajectory, look
from engine.inbox import Inbox
from engine.record import events as ev
from engine.record.config import SupervisorConfig
from engine.record.journal import Journal
from engine.record.reader import Reader
from engine.record.scores import Score
from engine.supervisor import Supervisor

RULE = SupervisorConfig()
GOOD = Score("p", True, "ok", "", "fake", 0.1, (), 1.0)


class Scene:
    """A journal into which an operator's calls are written, and the supervisor that reads them."""

    def __init__(self, path: Path) -> None:
        self.journal = Journal.create(path / "journal.db", "scene")
        self.reader = Reader(path / "journal.db")
        self.turn = self.attempts = 0
        self.journal.append(
            ev.AttemptScored(0, 1, None, "", "the seed", "s0", GOOD),
            ev.VersionCommitted(0, "c0", None, 0, "improved", "", "the seed", GOOD),
        )
        self.supervisor = Supervisor(self.journal, self.reader, Inbox(self.journal, self.reader), RULE)
        self.witness = Witness(self.reader)

    def call(self, tool: str = "shell", text: str = "exit 0 after 0.1 s", *, ok: bool = True, **arguments: object):
        self.turn += 1
        name = f"t{self.turn}"
        self.journal.append(
            ev.ToolStarted(name, tool, arguments, self.turn), ev.ToolFinished(name, tool, ok, text, 0.1)
        )

    def talk(self) -> None:
        self.turn += 1
        self.journal.append(ev.Spent("turn", 5, 5), ev.Said(f"I think {self.turn}", self.turn))

    def seen(self) -> list[tuple[str, str]]:
        return [(s.level, s.name) for s in signs(self.witness.conduct(0), RULE)]

    async def levels(self, count: int, **call: object) -> list[str]:
        """What the supervisor does while the same call comes again and again."""
        for _ in range(count):
            self.call(**call)  # type: ignore[arg-type]
            await self.supervisor.look(60.0)
        return [i.level for i in self.reader.interventions()[::-1]]


@pytest.fixture
def scene(tmp_path: Path) -> Iterator[Scene]:
    made = Scene(tmp_path)
    yield made
    made.reader.close()
    made.journal.close()


def test_the_same_call_with_the_same_answer_is_a_repetition_whatever_it_measured(scene: Scene) -> None:
    for n in range(2):
        scene.call(command="make", text=f"exit 0 after {n}.31 s at 12:0{n}, 0x7f{n} in /tmp/x{n}")
    assert scene.seen() == []
    scene.call(command="make", text="exit 0 after 9.99 s at 13:37, 0xdead in /tmp/other")
    assert scene.seen() == [("nudge", "the same call 3 times in a row")]
    for _ in range(2):
        scene.call(command="make", text="exit 0 after 1.0 s at 12:01, 0x1 in /tmp/y")
    assert scene.seen() == [("review", "the same call 5 times in a row")]


def test_a_call_that_fails_again_and_again_has_less_patience(scene: Scene) -> None:
    for _ in range(4):
        scene.call(command="make", text="exit 2 after 0.1 s", ok=False)
    assert scene.seen() == [("review", "the same call 4 times in a row")]


def test_another_answer_other_arguments_or_an_edit_between_is_no_repetition(scene: Scene) -> None:
    for n in range(6):
        scene.call(command="make", text=f"exit 0 after 0.1 s\n{n} tests passed")
        scene.call("read", "the text", path="a.cpp", start_line=n)
    assert scene.seen() == []
    for _ in range(6):
        scene.call(command="make")
        scene.call("edit", "1 change", path="a.cpp")
    assert scene.seen() == []


@pytest.mark.parametrize("tool", ["job", "evaluate", "submit", "profile", "plan", "notes"])
def test_waiting_scoring_and_writing_down_are_never_repetitions(scene: Scene, tool: str) -> None:
    for _ in range(10):
        scene.call(tool, "the same", id="j1")
    assert scene.seen() == []


def test_neither_a_fault_of_the_scorer_nor_an_interruption_counts(scene: Scene) -> None:
    for _ in range(20):
        scene.call(command="x", ok=False, text="the scorer failed (not the candidate): no answer")
        scene.call(command="x", ok=False, text="interrupted: lena interrupted")
        scene.call("evaluate")
    assert scene.seen() == []


@pytest.mark.parametrize("names", ["ab", "abc"])
def test_calls_that_take_turns_are_a_circle(scene: Scene, names: str) -> None:
    for _ in range(3):
        for name in names:
            scene.call("read", f"text of {name}", path=name)
    assert (scene.seen()[0]) == ("review", f"{len(names)} calls take turns")


def test_most_of_the_last_calls_failing_is_seen(scene: Scene) -> None:
    for n in range(20):
        scene.call("find", f"answer {n}", ok=n % 4 == 0, pattern=str(n))
    assert ("review", "15 of the last 20 calls failed") in scene.seen()


def test_reading_without_an_edit_or_a_measurement_is_seen_and_either_ends_it(scene: Scene) -> None:
    for n in range(20):
        scene.call("read", f"text {n}", path=str(n))
    assert scene.seen() == [("nudge", "20 turns without an edit or a measurement")]
    scene.call("edit", "1 change", path="a")
    assert scene.seen() == []


def test_talk_without_tools_is_seen_after_three_replies(scene: Scene) -> None:
    for _ in range(3):
        scene.talk()
    assert scene.seen() == [("review", "3 replies in a row without a tool call")]
    scene.call()
    assert scene.seen() == []


def test_two_conversations_without_a_candidate_are_seen(scene: Scene) -> None:
    scene.journal.append(*(ev.EpochBegan(n, "full") for n in (1, 2, 3)))
    assert scene.seen() == [("review", "2 conversations without a new candidate")]
    scene.journal.append(ev.AttemptScored(1, 1, 0, "", "a try", "s1", GOOD))
    assert scene.seen() == []


async def test_an_operator_that_never_makes_a_candidate_climbs_the_ladder_to_the_person(scene: Scene) -> None:
    assert await scene.levels(50, command="ls") == ["nudge", "review", "restore", "pause"]
    steps = scene.reader.interventions()[::-1]
    assert all(s.saw.startswith("conduct: ") for s in steps)
    assert len(steps[1].directions) >= 3 and "nothing new is learned this way" in steps[1].diagnosis
    alerts = scene.reader.alerts()
    assert (alerts[0].what, alerts[0].severity, alerts[0].closed_at) == ("conduct", "critical", None)


async def test_after_a_step_the_operator_has_its_turns_before_the_next(scene: Scene) -> None:
    assert await scene.levels(17, command="ls") == ["nudge"]
    assert await scene.levels(1, command="ls") == ["nudge", "review"]


async def test_a_new_best_ends_it(scene: Scene) -> None:
    await scene.levels(3, command="ls")
    scene.journal.append(ev.AttemptScored(1, 1, 0, "", "a try", "s1", GOOD))
    scene.journal.append(ev.VersionCommitted(1, "c1", 0, 1, "improved", "", "a try", GOOD, 1.2))
    await scene.supervisor.look(61.0)
    assert scene.reader.alerts(open_only=True) == []
    assert scene.reader.interventions()[0].helped is True


def test_a_restarted_engine_knows_what_was_done_before(scene: Scene) -> None:
    for _ in range(3):
        scene.call(command="make")
    assert signs(Witness(scene.reader).conduct(0), RULE) != []


def test_two_hours_without_a_candidate_are_a_stall_when_there_were_turns() -> None:
    assert look(Trajectory((), (), 121.0, "v0"), RULE) == []
    found = look(Trajectory((), (), 121.0, "v0", Conduct(turns=3)), RULE)
    assert [(f.what, f.level) for f in found] == [("stall", "review")]


def test_what_differs_each_time_is_taken_out_of_an_answer() -> None:
    assert steady("pid 17 took 3.5e-3 s at 10:11:12") == "PROCESS took NUMBER s at TIME"
