"""Compaction into epochs, the state card, and the supervisor's review."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from messages_server import Fault, MessagesServer, Reply, say, think, use
from messages_server.faults import status
from messages_server.improver import REVIEW
from stage import QUICK, Stage, calls, spent_as_billed

from engine.operators.agent.card import card, tokens_of
from engine.operators.agent.review import parse
from engine.operators.agent.window import Window
from engine.record import events as ev
from engine.record.config import Limits, SupervisorConfig
from engine.record.scores import ConfigurationScore, Score
from engine.session import Directive
from engine.supervisor import Supervisor


def filling(handoff: Reply | Fault | list[Reply]) -> Any:
    """Tool calls for ever; handoff requests get `handoff`."""
    good = iter(calls(10_000, "shell", think("and now?")))
    answers = iter(handoff) if isinstance(handoff, list) else None

    def policy(body: dict[str, Any]) -> Reply | Fault:
        last = body["messages"][-1]["content"][-1]
        if "<handoff_request>" in last.get("text", ""):
            return next(answers) if answers else handoff  # type: ignore[return-value]
        return next(good)

    return policy


async def fill(tmp_path: Path, handoff: Any) -> tuple[Stage, MessagesServer]:
    with MessagesServer(filling(handoff), window_tokens=30_000) as server:
        stage = Stage(tmp_path, server.url, window_tokens=30_000)
        stage.tools["shell"].answer = lambda a: "a line of output\n" * 300
        await stage.until(lambda: stage.agent.history.epoch == 2, most=60)
        await stage.turn(3)
        done = [c["n"] for c in stage.tools["shell"].done]
        assert done == list(range(len(done))) and not server.rejected
        assert spent_as_billed(stage, server)
        assert [e for e in stage.titles("epoch") if "full" in e] == ["conversation 2: the one before was full"]
        await stage.close()
        return stage, server


async def test_a_full_conversation_goes_on_from_the_card_and_the_handoff(tmp_path: Path) -> None:
    stage, server = await fill(tmp_path, Reply([think("so"), say("I was tiling the keys by 32.")]))
    opening = stage.agent.history.messages[0]["content"][0]["text"]
    assert opening.startswith("<state_card>") and "I was tiling the keys by 32." in opening
    assert max(s.usage["cache_read_input_tokens"] for s in server.seen) > 10_000


@pytest.mark.parametrize(
    "handoff",
    [
        Reply([]),
        Reply([say("  ")]),
        Reply([say("first"), use("shell", n=5)]),
        Reply([say("half a")], "max_tokens"),
        Reply([], "refusal"),
    ],
)
async def test_without_a_usable_handoff_the_card_alone_opens_the_epoch(handoff: Reply, tmp_path: Path) -> None:
    stage, _ = await fill(tmp_path, [handoff, handoff])
    assert "Handoff" not in stage.agent.history.messages[0]["content"][0]["text"]


async def test_a_handoff_that_does_not_fit_any_more_is_done_without(tmp_path: Path) -> None:
    await fill(tmp_path, status(400, "prompt is too long: 31000 tokens > 30000 maximum"))


async def test_a_handoff_as_long_as_the_conversation_is_cut(tmp_path: Path) -> None:
    stage, _ = await fill(tmp_path, Reply([say("every detail. " * 2000)]))
    assert len(stage.agent.history.messages[0]["content"][0]["text"]) < 20_000


def test_a_conversation_is_compacted_at_a_good_moment_and_never_overflows() -> None:
    window = Window.of(200_000, 1_000_000)
    assert not window.full(119_000, settled=True, replies=50)
    assert window.full(121_000, settled=True, replies=50)
    assert not window.full(121_000, settled=False, replies=50)
    assert window.full(141_000, settled=False, replies=50)
    assert not window.full(141_000, settled=True, replies=5)
    assert window.full(161_000, settled=False, replies=5)
    assert Window.of(1_000_000, None).full(151_000, settled=True, replies=50)
    assert Window.of(1_000_000, 200_000) == Window(200_000)


async def test_the_card_holds_what_must_not_be_forgotten_within_its_limit(tmp_path: Path) -> None:
    with MessagesServer([]) as server:
        stage = Stage(tmp_path, server.url)
        configurations = tuple(ConfigurationScore(f"c{i}", True, 1.0 + i, 0.1, 10.0, 1e-6) for i in range(8))
        good = Score("mha_cpu", True, "ok", "", "cpu", 1.0, configurations, 2.5)
        bad = Score("mha_cpu", False, "check", "c3: relative error 0.2", "cpu", 1.0)
        for n in range(300):
            attempt = ev.AttemptScored(
                n, n, 0, "d", f"idea {n}", f"h{n}", good if n % 5 == 0 else bad, hypothesis=f"hypothesis {n}"
            )
            stage.journal.append(attempt)
            if n % 5 == 0:
                stage.journal.append(ev.VersionCommitted(n // 5, "abc", None, n, "improved", "d", f"idea {n}", good))
        for n in range(200):
            stage.journal.append(ev.Noted(f"note {n}: " + "words " * 60))
        stage.journal.append(ev.PlanChanged((("1", "tile the keys", "active"), ("2", "prefetch", "pending"))))
        stage.journal.append(stage.session._inbox.put(Directive("person-1", "person", "Never use -ffast-math.", 1)))
        stage.journal.append(stage.session._inbox.put(Directive("person-2", "person", "Long. " * 9000, 2)))
        text = card(stage.session, summary="S" * 40_000)
        assert tokens_of(text) <= 20_000
        for needed in (
            "v59",
            "hypothesis 299",
            "tile the keys",
            "note 199",
            "- c7: 8 TFLOPS",
            "[active]",
            "person-2 (person, sent): Long.",
        ):
            assert needed in text
        stage.session._inbox.withdraw("person-2")
        await stage.close()


async def test_the_card_says_how_many_candidates_are_measured_at_once(tmp_path: Path) -> None:
    with MessagesServer([]) as server:
        stage = Stage(tmp_path, server.url)
        assert "measured at once" not in card(stage.session)
        stage.session.trials = SimpleNamespace(width=4)  # type: ignore[assignment]
        assert "4 candidates are measured at once here: give `evaluate` as many `variants`" in card(stage.session)
        await stage.close()


async def test_the_card_names_the_lessons_of_earlier_runs_those_handed_on_first(tmp_path: Path) -> None:
    from engine.knowledge import Knowledge, Place

    def lesson(place: str, name: str, problem: str, date: str) -> None:
        front = f'title = "Lessons of {name}"\nclaim = "v3 reached 2x"\ndate = "{date}"\nhardware = "a machine"\n'
        (tmp_path / place).mkdir(exist_ok=True)
        text = f'+++\n{front}tags = ["lesson", "{problem}"]\nlesson = true\n+++\n## What paid\n- tiles\n'
        (tmp_path / place / f"lesson-{name}.md").write_text(text)

    lesson("person", "other", "gqa_cuda", "2026-11-22")
    lesson("person", "same", "mha_cpu", "2026-11-20")
    lesson("handed", "source", "gqa_cpu", "2026-11-01")
    with MessagesServer([]) as server:
        stage = Stage(tmp_path, server.url)
        stage.session.knowledge = Knowledge((Place("run", tmp_path / "handed"), Place("person", tmp_path / "person")))
        lines = [line for line in card(stage.session).splitlines() if line.startswith("- lesson-")]
        assert [line.split(":")[0] for line in lines] == ["- lesson-source", "- lesson-same", "- lesson-other"]
        assert lines[0] == "- lesson-source: Lessons of source. v3 reached 2x (a machine)"
        stage.session.knowledge.close()
        await stage.close()


async def test_a_review_is_a_conversation_of_its_own_and_costs_from_the_same_budget(tmp_path: Path) -> None:
    answers = [
        Fault("eof", after=3),
        Reply([say("I think that")]),
        Reply([say("```json\n" + json.dumps(REVIEW) + "\n```")]),
    ]
    with MessagesServer(answers) as server:
        stage = Stage(tmp_path, server.url)
        found = await stage.agent.review("stall: 16 attempts without a new best", stage.reader.directions())
        assert found is not None and len(found.directions) == 3
        assert found.diagnosis.startswith("The last attempts changed only constants")
        assert "First step: Tile four rows." in found.directions[0][1]
        assert "could not be used" in server.bodies[-1]["messages"][0]["content"][0]["text"]
        assert not server.rejected and spent_as_billed(stage, server)
        assert stage.titles("spent")[-1].startswith("review:")
        await stage.close()


@pytest.mark.parametrize(
    ("answers", "limits", "why"),
    [
        ([status(401)], Limits(), "does not accept the key"),
        (
            [Reply([], "refusal", {"type": "refusal", "category": "frontier_llm"})],
            Limits(),
            "declined to review: frontier_llm",
        ),
        ([Reply([say('{"diagnosis": "d", "directions": []}')])] * 3, Limits(), "it has 0 directions; at least 3"),
        ([], Limits(tokens=1), "the limit of 1 token"),
    ],
)
async def test_without_a_review_the_supervisor_is_told_and_does_without(
    answers: list[Any], limits: Limits, why: str, tmp_path: Path
) -> None:
    with MessagesServer(answers) as server:
        stage = Stage(tmp_path, server.url, limits=limits, backoff=QUICK)
        stage.journal.append(ev.Spent("turn", 5, 5))
        assert await stage.agent.review("stall", ()) is None
        assert why in stage.titles("warning")[-1]
        await stage.close()


@pytest.mark.parametrize(
    "text",
    [
        "",
        "no",
        "[1]",
        '{"directions": 3}',
        '{"diagnosis": "", "directions": [{"title": "a"}, {"title": "b"}, {"title": "c"}]}',
        '{"diagnosis": "d", "directions": [1, 2, 3]}',
    ],
)
def test_what_is_no_review_is_named(text: str) -> None:
    with pytest.raises(ValueError, match=r"\w"):
        parse(text)


async def test_a_stall_is_reviewed_by_the_model_and_its_directions_reach_the_agent(tmp_path: Path) -> None:
    def policy(body: dict[str, Any]) -> Reply:
        return Reply([use("shell", n=1)]) if body.get("tools") else Reply([say(json.dumps(REVIEW))])

    with MessagesServer(policy) as server:
        stage = Stage(tmp_path, server.url)
        await stage.turn()
        bad = Score("mha_cpu", False, "check", "relative error 0.2", "cpu", 1.0)
        good = Score("mha_cpu", True, "ok", "", "cpu", 1.0, (ConfigurationScore("c", True, 1.0),), 1.0)
        stage.journal.append(
            ev.AttemptScored(0, 0, None, "", "the seed", "s", good),
            ev.VersionCommitted(0, "abc", None, 0, "improved", "", "the seed", good),
        )
        inbox = stage.session._inbox
        supervisor = Supervisor(stage.journal, stage.reader, inbox, SupervisorConfig(), stage.agent.review)
        for n in range(1, 40):
            stage.journal.append(ev.AttemptScored(n, 1, 0, f"d{n}", f"idea {n}", f"h{n}", bad))
            await supervisor.look(float(n))
            if any(i.level == "review" for i in stage.reader.interventions()):
                break
        review = next(i for i in stage.reader.interventions() if i.level == "review")
        assert review.diagnosis == REVIEW["diagnosis"] and len(review.directions) == 3
        asked = next(b for b in server.bodies if not b.get("tools"))["messages"][0]["content"][0]["text"]
        for part in (
            "failures: 13 check; the last: a13 check: relative error 0.2",
            "## The whole lineage\n- v0 start improved: the seed [a0]",
            "## All attempts, counted\n- 13 failed at check\n- 13 times: relative error 0.2",
            "## The last 40 tool calls\n- turn 1: shell n=1 -> did {'n': 1}",
            "idea 12",
        ):
            assert part in asked, part
        await stage.turn()
        assert "Block the queries: K is read once for several rows First step: Tile four rows." in stage.words()
        assert not server.rejected and spent_as_billed(stage, server)
        await stage.close()
