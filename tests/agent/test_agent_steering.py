"""Directions, limits and waits: what a person asks of a running agent, and what they see of it."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

from messages_server import MessagesServer, Reply, use
from messages_server.faults import status
from stage import Stage, calls

from engine.record import commands
from engine.record.config import Limits
from engine.record.events import CommandChanged, PlanChanged
from engine.session import Directive


def give(stage: Stage, directive: Directive) -> None:
    stage.journal.append(stage.session._inbox.put(directive))


def states(stage: Stage, direction: str) -> list[str]:
    events = [e.event() for e in stage.reader.tail(1000, kinds=("direction",))]
    return [e.state for e in events if e.direction == direction]  # type: ignore[attr-defined]


async def test_a_direction_reaches_the_next_request_verbatim_and_is_answered(tmp_path: Path) -> None:
    answer = Reply([use("acknowledge", direction="person-7", obeyed=True, words="I tile by 64 next.")])
    with MessagesServer([*calls(1), answer, *calls(1)]) as server:
        stage = Stage(tmp_path, server.url)
        await stage.turn()
        give(stage, Directive("person-7", "person", "Try a tile of 64 rows.\nMind the tail.", 7))
        await stage.turn(2)
        sent = server.bodies[1]["messages"][-1]["content"]
        assert [b["type"] for b in sent] == ["tool_result", "text"]
        assert (
            sent[-1]["text"]
            == '<direction id="person-7" from="person">\nTry a tile of 64 rows.\nMind the tail.\n</direction>'
        )
        assert states(stage, "person-7") == ["sent", "seen", "obeyed", "pursued"]
        assert stage.session.pursuit.id == "person-7" and not server.rejected
        await stage.close()


async def test_a_direction_that_is_not_answered_is_asked_for_once(tmp_path: Path) -> None:
    with MessagesServer(calls(6)) as server:
        stage = Stage(tmp_path, server.url)
        give(stage, Directive("person-1", "person", "Try it.", 1))
        await stage.turn(6)
        assert stage.words().count("Not acknowledged yet: person-1") == 1
        await stage.close()


async def test_a_restart_gives_a_direction_once_and_a_new_epoch_still_knows_it(tmp_path: Path) -> None:
    with MessagesServer(calls(4)) as server:
        stage = Stage(tmp_path, server.url)
        give(stage, Directive("person-1", "person", "Try prefetching.", 1))
        await stage.turn()
        await stage.reopen()
        await stage.turn()
        assert stage.words().count('<direction id="person-1"') == 1
        give(stage, Directive("supervisor-1", "supervisor", "Look again.", level="restore"))
        await stage.turn()
        assert stage.agent.history.epoch == 2
        assert "- person-1 (person, seen): Try prefetching." in stage.words()
        assert '<direction id="supervisor-1" from="supervisor">\nLook again.' in stage.words()
        assert not server.rejected
        await stage.close()


async def test_the_active_item_of_the_plan_is_the_direction_pursued(tmp_path: Path) -> None:
    def planned(*items: tuple[str, str]) -> dict[str, Any]:
        return use("plan", items=[{"id": str(i), "text": t, "status": s} for i, (t, s) in enumerate(items)])

    script = [
        Reply([planned(("online softmax", "active"), ("threads", "pending"))]),
        Reply([planned(("threads", "active"))]),
    ]
    with MessagesServer(script) as server:
        stage = Stage(tmp_path, server.url)
        stage.tools["plan"] = type(stage.tools["shell"])("plan")
        await stage.reopen()
        await stage.turn(2)
        pursued = [d.name for d in stage.reader.directions() if d.state == "pursued"]
        assert pursued == ["online softmax", "threads"]
        stage.journal.append(PlanChanged((("1", "threads", "active"),)))
        await stage.close()


async def test_a_plan_item_with_a_directions_id_keeps_the_direction_pursued(tmp_path: Path) -> None:
    answer = use("acknowledge", direction="person-7", obeyed=True, words="Yes.")
    items = [{"id": "person-7", "text": "tiles of 64", "status": "active"}]
    with MessagesServer([Reply([answer]), Reply([use("plan", items=items)])]) as server:
        stage = Stage(tmp_path, server.url)
        stage.session.tools["plan"] = type(stage.tools["shell"])("plan")  # type: ignore[index]
        give(stage, Directive("person-7", "person", "Try a tile of 64 rows.", 7))
        await stage.turn(2)
        assert stage.session.pursuit.id == "person-7" and states(stage, "person-7").count("pursued") == 1
        await stage.close()


async def test_a_wait_is_visible_and_a_resume_cuts_it_short(tmp_path: Path) -> None:
    with MessagesServer(calls(2), faults=[None, status(429, retry_after="3600")]) as server:
        stage = Stage(tmp_path, server.url)
        await stage.turn(2)
        assert "limiting the rate" in stage.titles("waited")[0] and "waiting 3600s" in stage.titles("waited")[0]
        task = asyncio.ensure_future(stage.turn())
        await asyncio.sleep(0.05)
        assert stage.session.activity.startswith("waiting 3")
        number = commands.send(stage.folder.journal, "resume", person="lena")
        await asyncio.wait_for(task, 5)
        stage.journal.answer(CommandChanged(number, "resume", "applied", "lena"))
        await stage.turn()
        assert len(stage.tools["shell"].done) == 2
        await stage.close()


async def test_a_pause_during_a_wait_is_the_engines_at_once_and_the_wait_goes_on_after(tmp_path: Path) -> None:
    with MessagesServer(calls(2), faults=[None, status(529, retry_after="3600")]) as server:
        stage = Stage(tmp_path, server.url)
        await stage.turn(2)
        number = commands.send(stage.folder.journal, "pause", person="lena")
        await asyncio.wait_for(stage.turn(), 5)
        stage.journal.answer(CommandChanged(number, "pause", "applied", "lena"))
        task = asyncio.ensure_future(stage.turn())
        await asyncio.sleep(0.05)
        assert not task.done() and len(server.seen) == 2
        task.cancel()
        await stage.close()


async def test_at_a_limit_no_further_request_goes_out_and_warnings_come_once(tmp_path: Path) -> None:
    with MessagesServer(calls(50)) as server:
        stage = Stage(tmp_path, server.url, limits=Limits(tokens=20_000))
        await stage.turn(50)
        spend = stage.reader.spend()
        total = spend.input_tokens + spend.output_tokens + spend.cache_read_tokens + spend.cache_write_tokens
        assert total >= 20_000 and len(server.seen) < 50
        assert stage.words().count("Budget: 67% of the limit of 20,000 tokens is used") == 1
        await stage.close()


async def test_a_known_model_costs_money_and_an_unknown_one_tokens_only(tmp_path: Path) -> None:
    price = {"test-model": {"input": 1.0, "output": 10.0, "cache_read": 0.1, "cache_write": 2.0}}
    with MessagesServer(calls(4)) as server:
        stage = Stage(tmp_path / "", server.url, prices=price)
        await stage.turn(2)
        spend, billed = stage.reader.spend(), server.billed
        expected = (
            billed["input_tokens"]
            + 10 * billed["output_tokens"]
            + 0.1 * billed["cache_read_input_tokens"]
            + 2 * billed["cache_creation_input_tokens"]
        ) / 1e6
        assert abs(spend.usd - expected) < 1e-12 and spend.unpriced_calls == 0
        stage.config = type(stage.config)(
            **{**{f: getattr(stage.config, f) for f in stage.config.__slots__}, "prices": {}}
        )
        await stage.reopen()
        await stage.turn(2)
        assert stage.reader.spend().unpriced_calls == 2
        await stage.close()


async def test_a_pause_lets_the_call_at_work_finish_and_no_other_of_the_reply(tmp_path: Path) -> None:
    with MessagesServer([Reply([use("asks"), use("shell", n=7)]), *calls(1)]) as server:
        stage = Stage(tmp_path, server.url)
        asks = type(stage.tools["shell"])(
            "asks", lambda a: str(commands.send(stage.folder.journal, "pause", person="lena"))
        )
        stage.session.tools["asks"] = asks  # type: ignore[index]
        await stage.turn()
        assert len(asks.done) == 1 and not stage.tools["shell"].done
        assert stage.results()[-1]["content"] == (
            "Not executed: lena wants pause first. Call again if you still need it."
        )
        stage.journal.answer(CommandChanged(1, "pause", "applied", "lena"))
        await stage.turn()
        assert [c["n"] for c in stage.tools["shell"].done] == [0] and not server.rejected
        await stage.close()


async def test_a_limit_that_a_call_reaches_holds_for_the_rest_of_the_reply(tmp_path: Path) -> None:
    from engine.record.events import AttemptScored
    from engine.record.scores import Score

    with MessagesServer([Reply([use("tries"), use("shell", n=7)])]) as server:
        stage = Stage(tmp_path, server.url, limits=Limits(attempts=1))
        score = Score("mha_cpu", True, "ok", "", "cpu", 1.0)

        def tried(arguments: Any) -> str:
            stage.journal.append(*(AttemptScored(n, 1, 0, "", "x", f"h{n}", score) for n in (0, 1)))
            return "scored"

        stage.session.tools["tries"] = type(stage.tools["shell"])("tries", tried)  # type: ignore[index]
        await stage.turn()
        assert not stage.tools["shell"].done
        assert stage.results()[-1]["content"] == "Not executed: the limit of 1 attempt is reached."
        await stage.close()
