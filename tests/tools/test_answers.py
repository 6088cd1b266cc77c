"""The registry, the schemas, and the tools that ask the scorer, the gate, the lineage and the journal."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.record import events as ev
from engine.record.errors import Refused
from engine.session import Submission
from engine.tools import registry, schemas
from engine.tools.schema import violation
from engine.tools.tables import score_table
from engine.tools.tool import parameters
from tests.tools.conftest import Bench, score_of

NAMES = ("shell", "job", "read", "write", "edit", "find", "evaluate", "profile", "submit", "lineage",
         "knowledge_search", "knowledge_read", "plan", "notes")  # fmt: skip


def test_the_tools_come_in_one_fixed_order_with_the_same_bytes_each_time():
    assert tuple(registry()) == NAMES
    assert json.dumps(schemas(registry())) == json.dumps(schemas(registry()))


@pytest.mark.parametrize("name", NAMES)
def test_every_schema_is_a_closed_object_that_names_its_required_properties(name: str):
    tool = registry()[name]
    assert tool.schema["type"] == "object"
    assert tool.schema["additionalProperties"] is False
    assert set(tool.schema["required"]) <= set(tool.schema["properties"])
    assert len(tool.description) > 30


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)
_KEYS = sorted({key for tool in registry().values() for key in tool.schema["properties"]})


@given(arguments=st.dictionaries(st.sampled_from(_KEYS) | st.text(max_size=8), _JSON, max_size=4))
def test_any_json_is_checked_without_an_exception(arguments: dict):
    for tool in registry().values():
        wrong = violation(arguments, tool.schema)
        assert wrong is None or (wrong and "\n" not in wrong[:20])


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ({}, "path is missing"),
        ({"path": 3}, "path must be a string, not 3"),
        ({"path": ""}, "path is empty"),
        ({"path": "a", "start_line": True}, "start_line must be an integer, not True"),
        ({"path": "a", "start_line": 0}, "start_line = 0 is not in [1, ∞]"),
        ({"path": "a", "line": 1}, "unknown argument 'line'; known: path, start_line, end_line"),
        ([], "the arguments must be an object, not []"),
    ],
)
async def test_a_wrong_call_is_answered_with_a_sentence(bench: Bench, arguments, sentence: str):
    answer = await registry()["read"].run(bench.session, arguments)
    assert (answer.ok, answer.text) == (False, f"read: {sentence}")


def test_a_schema_word_that_nobody_checks_is_our_mistake():
    with pytest.raises(ValueError, match="'pattern', which is not checked here"):
        violation("x", {"type": "string", "pattern": "y"})


def test_nested_arguments_are_named_by_their_place():
    schema = parameters(items={"type": "array", "items": parameters(("id",), id={"type": "string"})})
    assert violation({"items": [{"id": "a"}, {}]}, schema) == "items[1].id is missing"


async def test_evaluate_lays_out_each_configuration_beside_the_incumbent_and_the_baseline(bench: Bench):
    bench.commit({"a.cpp": b"x"}, score_of(1.0, 1.0))
    bench.session.record(ev.BaselineMeasured("torch_sdpa", score_of(4.0, 4.0)))
    found = await bench.call("evaluate", suite="full", configurations=["full_512"], hypothesis="twice as fast")
    assert bench.trials.asked == [("evaluate", "full", ["full_512"], "twice as fast")]
    lines = found.text.splitlines()
    assert lines[0] == "a1: correct, geomean 2.449 TFLOPS (full suite, 0.5 s)"
    assert lines[1].split() == ["configuration", "TFLOPS", "±%", "µs", "error", "/v0", "/torch_sdpa"]
    assert lines[2].split() == ["full_512", "2", "2.0", "500", "1.0e-07", "2.00x", "0.50x"]
    assert lines[4].split() == ["geomean", "2.449", "2.45x", "0.61x"]
    assert found.data["attempt"] == 1
    assert found.data["geomean_tflops"] == pytest.approx(2.449, abs=0.001)


def test_a_score_over_one_configuration_is_compared_over_that_one_only():
    one = replace(score_of(2.0, 3.0), configurations=score_of(2.0, 3.0).configurations[:1], geomean_tflops=2.0)
    table = score_table(one, None, {"torch_sdpa": score_of(4.0, 400.0)})
    assert table.splitlines()[-1].split() == ["geomean", "2", "0.50x"]


async def test_evaluate_shows_why_a_candidate_is_wrong_with_the_end_of_its_log(bench: Bench):
    bench.trials.score = replace(
        score_of(1.0, 1.0, reason="head 3 is off by 0.4"), log="g++: note\nerror: no such thing"
    )
    found = await bench.call("evaluate")
    assert found.ok, "the tool worked; the candidate did not"
    assert found.text.startswith("a1: NOT correct, check: head 3 is off by 0.4")
    assert found.text.endswith("error: no such thing")
    assert found.data["correct"] is False


async def test_submit_tells_the_verdict_and_what_it_means_for_the_workspace(bench: Bench):
    bench.trials.submission = Submission(3, "improved", "1.25x the incumbent", 1.25, 1.2, 1.3, 4, version=2)
    done = await bench.call("submit", message="tile the keys", hypothesis="h")
    assert bench.trials.asked == [("submit", "tile the keys", "h")]
    assert done.text == "a3: improved, committed as v2\n1.25x the incumbent"
    assert done.data["version"] == 2
    bench.trials.submission = Submission(4, "regressed", "0.9x the incumbent", 0.9, 0.8, 0.95, 2)
    done = await bench.call("submit", message="unroll")
    assert done.text.startswith("a4: regressed, not committed; the workspace still holds it")
    assert done.data["version"] is None


async def test_a_refusal_of_the_gate_is_an_answer(bench: Bench):
    async def refuse(message: str, hypothesis: str) -> Submission:
        raise Refused("the workspace is exactly v0; change something before you submit")

    bench.trials.submit = refuse  # type: ignore[method-assign]
    answer = await bench.call("submit", message="again")
    assert (answer.ok, answer.text) == (False, "the workspace is exactly v0; change something before you submit")


async def test_profile_gives_text_and_facts(bench: Bench):
    found = await bench.call("profile", configurations=["full_512"])
    assert found.text == "the hot loop is scalar"
    assert found.data["facts"] == {"profile.vector_bits": 0}


async def test_the_lineage_can_be_listed_shown_compared_and_restored(bench: Bench):
    bench.commit({"a.cpp": b"int old;\n"}, score_of(1.0, 1.0))
    bench.commit({"a.cpp": b"int new;\n"}, score_of(2.0, 2.0))
    log = (await bench.call("lineage", action="log")).text.splitlines()
    assert log[1].split() == ["v0", "*", "-", "1", "1.250x", "improved", "try", "0"]
    assert log[2].split()[:3] == ["v1", "*", "v0"]
    shown = (await bench.call("lineage", action="show", rev="best")).text
    assert "+int new;" in shown and "full_512" in shown
    assert "-int old;" in (await bench.call("lineage", action="diff", rev="seed")).text
    assert (await bench.call("lineage", action="diff", rev="v1", to="best")).text == "v1 and v1 have the same sources"
    assert (await bench.call("lineage", action="restore", rev="v0")).text == "the workspace holds v0"
    assert bench.trials.asked == [("restore", 0)]


async def test_what_was_tried_can_be_listed_shown_and_searched(bench: Bench):
    bench.commit({"a.cpp": b"int old;\n"}, score_of(1.0, 1.0))
    assert "try 0" in (await bench.call("lineage", action="attempts")).text
    shown = (await bench.call("lineage", action="show", rev="a0")).text
    assert "a hypothesis" in shown and "+int new;" in shown
    assert "attempt: a0 try 0" in (await bench.call("lineage", action="search", text="hypothesis")).text
    assert "nothing on record" in (await bench.call("lineage", action="search", text="zebra")).text


@pytest.mark.parametrize("rev", ["v9", "a9", "nonsense", "v", "99999999999999999999"])
async def test_an_unknown_revision_is_answered_with_a_sentence(bench: Bench, rev: str):
    answer = await bench.call("lineage", action="show", rev=rev)
    assert not answer.ok
    assert "no " in answer.text


async def test_the_plan_and_the_notes_are_on_record(bench: Bench):
    items = [{"id": "1", "text": "tile", "status": "done"}, {"id": "2", "text": "vectorise", "status": "active"}]
    assert (await bench.call("plan", items=items)).text == "[x] tile\n[>] vectorise"
    await bench.call("notes", action="append", text="AVX-512 throttles here")
    await bench.call("notes", action="append", text="tiles of 64 spill")
    assert (await bench.call("notes", action="read")).text == "tiles of 64 spill\n\nAVX-512 throttles here"
    assert (await bench.call("notes", action="read", text="throttles")).data["notes"] == 1
    assert not (await bench.call("notes", action="append")).ok
    plan = bench.reader.tail(1, kinds=("plan",))[0].event()
    assert plan == ev.PlanChanged((("1", "tile", "done"), ("2", "vectorise", "active")))


async def test_knowledge_that_was_read_is_on_record(bench: Bench):
    pages = bench.folder.path / "knowledge"
    pages.mkdir()
    (pages / "softmax.md").write_text('+++\ntitle = "Online softmax"\n+++\n## Rescaling\nkeep the running maximum\n')
    found = await bench.call("knowledge_search", query="how to keep a running maximum", k=3)
    assert found.text.splitlines()[0] == "softmax § Rescaling (Online softmax)"
    read = await bench.call("knowledge_read", page="softmax", section="rescaling")
    assert "keep the running maximum" in read.text
    assert [e.title for e in bench.reader.tail(9, kinds=("knowledge",))][-1] == "read softmax § Rescaling"
    assert "nearest: softmax" in (await bench.call("knowledge_read", page="sofmax")).text


async def test_every_call_is_on_record_with_its_answer(bench: Bench):
    await bench.call("read", path="nothing")
    started, finished = (e.event() for e in bench.reader.tail(2, kinds=("tool_started", "tool_finished")))
    assert isinstance(started, ev.ToolStarted) and isinstance(finished, ev.ToolFinished)
    assert (started.tool, started.arguments, finished.ok) == ("read", {"path": "nothing"}, False)
    assert finished.text == "nothing: No such file or directory"


async def test_an_answer_that_is_too_long_lies_whole_in_a_log_that_can_be_read(bench: Bench):
    pages = bench.folder.path / "knowledge"
    pages.mkdir()
    (pages / "long.md").write_text("# Long\n" + "\n".join(f"line {n} of a long page" for n in range(2000)))
    found = await bench.call("knowledge_read", page="long")
    assert len(found.text) <= 16_100 and "characters left out" in found.text
    log = found.text.rsplit("(whole answer: ", 1)[1].rstrip(")")
    assert found.log == log
    part = await bench.call("read", path=log, start_line=1000)
    assert "of a long page" in part.text


async def test_sources_that_were_evaluated_before_are_named_with_what_became_of_them(bench: Bench):
    bench.commit({"a.cpp": b"x"}, score_of(1.0, 1.0))
    bench.session.record(
        ev.AttemptScored(1, 1, 0, "d", "tile the keys", "s1", score_of(1.0, 1.0)),
        ev.GateDecided(1, "regressed", "slower", 0.93, 0.9, 0.95, 4),
        ev.AttemptScored(2, 1, 0, "d", "a typo", "s1", score_of(1.0, 1.0, reason="wrong")),
    )
    whole = bench.trials.evaluate

    async def again(*arguments):
        return replace(await whole(*arguments), attempt=3, earlier=(1, 2))

    bench.trials.evaluate = again
    text = (await bench.call("evaluate")).text
    assert "the same sources were evaluated before: a1 (regressed 0.930x, tile the keys), a2 (check, a typo)" in text


async def test_a_plan_that_turns_to_what_was_tried_before_is_told_so(bench: Bench):
    bench.session.record(
        ev.DirectionChanged("plan-1", "Tile the keys by 64", "agent", "pursued"),
        ev.AttemptScored(1, 1, 0, "plan-1", "Tile the keys by 64", "s1", score_of(1.0, 1.0)),
        ev.GateDecided(1, "regressed", "slower", 0.93, 0.9, 0.95, 4),
        ev.DirectionChanged("plan-1", "Tile the keys by 64", "agent", "regressed", "slower"),
    )
    items = [{"id": "1", "text": "tile the  keys by 64.", "status": "active"}]
    told = (await bench.call("plan", items=items)).text.splitlines()
    assert told[1] == (
        "tried before: Tile the keys by 64: regressed, 1 attempts, best 0.930x; `lineage` search shows them"
    )
    other = [{"id": "1", "text": "prefetch the values", "status": "active"}]
    assert (await bench.call("plan", items=other)).text == "[>] prefetch the values"
    bench.session.pursue("plan-1", "Tile the keys by 64", "agent", "")
    assert "tried before" not in (await bench.call("plan", items=items)).text


async def test_a_tool_that_fails_on_its_own_account_is_finished_on_record(bench: Bench):
    async def fail(message: str, hypothesis: str) -> Submission:
        raise RuntimeError("a bug")

    bench.trials.submit = fail  # type: ignore[method-assign]
    with pytest.raises(RuntimeError):
        await bench.call("submit", message="x")
    done = bench.reader.tail(1, kinds=("tool_finished",))[0].event()
    assert isinstance(done, ev.ToolFinished) and not done.ok and "RuntimeError: a bug" in done.text


async def test_the_record_says_what_was_searched_and_what_a_call_cost(bench: Bench):
    await bench.call("knowledge_search", query="barriers")
    bench.session.record(ev.Spent("turn", 5, 40, 3000, 200, 0.0123, "m"), ev.Spent("turn", 5, 40))
    titles = [e.title for e in bench.reader.tail(9, kinds=("knowledge", "spent"))]
    assert titles == [
        "searched barriers",
        "turn: 3,205 in (3,000 cached), 40 out, $0.0123",
        "turn: 5 in (0 cached), 40 out",
    ]
