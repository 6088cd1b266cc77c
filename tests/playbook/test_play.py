"""The playbook plays: a real engine process works through a catalogue, learns, obeys, sweeps and ends."""

from collections.abc import Callable
from pathlib import Path

from playbook_toy import Toy, direction

from engine.record.config import Limits

Make = Callable[..., Toy]


def test_it_commits_what_pays_rejects_the_rest_and_then_searches_the_parameters(toy: Make) -> None:
    run = toy(
        {
            "10-good.toml": direction("good", expects=1.5),
            "11-slow.toml": direction("slow", block="two", text="// gain: 0.5"),
            "12-wrong.toml": direction("wrong", expects=1.9, block="two", text="// wrong"),
            "playbook.toml": "[search]\nkTile = [16, 32, 64, 128]\n",
        }
    )
    assert run.play() == 0
    assert run.committed() == ["seed", "good", "tune:kTile=64"]
    states = run.states()
    assert (states["slow"], states["wrong"]) == ("regressed", "incorrect")
    assert "0.500x of v1" in run.why("slow")
    assert "row 3 differs" in run.why("wrong")
    final = run.ask(lambda r: r.tail(1, kinds=("state",)))[0].title
    assert "every direction and every combination of the parameters was tried" in final
    assert (run.folder.workspace / "attention.cpp").read_text().count("gain: 1.5") == 1


def test_what_a_busy_machine_dropped_at_every_glance_gets_a_verdict_before_the_run_ends(toy: Make) -> None:
    run = toy(
        {
            "10-unlucky.toml": direction("unlucky", expects=1.5, text="// gain: 1.5\\n// unlucky: 3"),
            "11-next.toml": direction(
                "next", expects=1.2, block="two", text="// gain: 1.2", more='[requires]\ncontains = ["gain: 1.5"]'
            ),
        }
    )
    assert run.play() == 0
    assert run.committed() == ["seed", "unlucky", "next"]
    said = "\n".join(e.event().text for e in run.ask(lambda r: r.events(kinds=("said",))))
    assert said.count("Direction unlucky") >= 4
    assert "no gate ever gave a plain verdict on it" in said


def test_a_direction_that_cannot_be_read_is_named_before_anything_is_measured(toy: Make) -> None:
    run = toy({"10-good.toml": direction("good"), "11-torn.toml": "title = "})
    assert run.play() == 2
    assert "11-torn.toml" in run.ask(lambda r: r.tail(1, kinds=("state",)))[0].title
    assert run.ask(lambda r: r.counts()) == (0, 0)


def test_the_transcript_shows_what_it_reads_tries_and_learns(toy: Make) -> None:
    run = toy({"10-good.toml": direction("good")})
    assert run.play() == 0
    tools = [e.event().tool for e in run.ask(lambda r: r.events(kinds=("tool_started",)))]
    assert tools == ["profile", "knowledge_read", "edit", "evaluate", "submit"]
    said = "\n".join(e.event().text for e in run.ask(lambda r: r.events(kinds=("said",))))
    assert "Why now: it promises most for its effort" in said
    assert "Hypothesis: it helps" in said
    assert "improves v0 at 1.500x" in said


def test_a_profile_of_what_takes_long_everywhere_looks_at_the_quick_suite(toy: Make) -> None:
    book = {"10-good.toml": direction("good")}
    slow, quick = toy(book, {"machine.long_calls": True}), toy(book)
    assert (slow.play(), quick.play()) == (0, 0)
    calls = [[e.event() for e in run.ask(lambda r: r.events(kinds=("tool_started",)))] for run in (slow, quick)]
    profiled = [[call.arguments for call in made if call.tool == "profile"] for made in calls]
    assert profiled == [[{"configurations": ["full"]}], [{}]]


def test_on_another_machine_it_ends_elsewhere(toy: Make) -> None:
    book = {
        "10-wide.toml": direction(
            "wide", text="// gain: 2.0", more='[requires]\nfacts = ["machine.avx512 == true"]', expects=2.0
        ),
        "11-narrow.toml": direction(
            "narrow", text="// gain: 1.2", more='[requires]\nlacks = ["gain: 2.0"]', expects=1.2
        ),
    }
    large, small = toy(book, {"machine.avx512": True}), toy(book, {"machine.avx512": False})
    assert (large.play(), small.play()) == (0, 0)
    assert large.committed() == ["seed", "wide"]
    assert small.committed() == ["seed", "narrow"]


def test_what_the_profile_says_changes_the_order(toy: Make) -> None:
    boost = '[[boost]]\nwhen = "machine.l1_kb < 40"\nfactor = 9.0'
    book = {
        "10-a.toml": direction("a", expects=1.4, block="one"),
        "11-b.toml": direction("b", expects=1.2, block="two", more=boost),
    }
    plain, boosted = toy(book, {"machine.l1_kb": 48}), toy(book, {"machine.l1_kb": 32})
    assert (plain.play(), boosted.play()) == (0, 0)
    assert plain.committed() == ["seed", "a", "b"]
    assert boosted.committed() == ["seed", "b", "a"]


def test_a_killed_engine_goes_on_where_it_was_and_repeats_nothing(toy: Make) -> None:
    book = {f"1{n}-d{n}.toml": direction(f"d{n}", block=b, text=t) for n, (b, t) in enumerate(KILLED)}
    run = toy(book)
    process = run.start()
    run.until(lambda r: "slow" in str([a.hypothesis for a in r.attempts()]) or len(r.versions()) >= 2)
    process.kill()
    process.wait()
    assert run.play() == 0
    sources = [a.source_hash for a in run.ask(lambda r: r.attempts()) if not a.correct or a.verdict is not None]
    assert len(sources) == len(set(sources))
    assert sorted(run.committed()) == ["d0", "d1", "seed"]


KILLED = (("one", "// gain: 1.5"), ("two", "// gain: 1.4"), ("three", "// gain: 0.6"), ("three", "// wrong"))


WISHES = (
    ("kTile=32", "declined", "has these values already"),
    ("please try the hidden one", "obeyed", "I try hidden now"),
    ("kWarp = 4 would be nice", "declined", "no parameter kWarp; it has: kTile = 32"),
    ("use the barred trick", "declined", "it needs machine.cores >= 64, and machine.cores is 2"),
    ("rewrite everything in Fortran", "declined", "nothing in the playbook matches"),
    ("don't use hidden", "declined", "to forbid it, veto the direction hidden"),
    ("set kTile = 64", "obeyed", "parameters kTile = 64"),
)


def test_each_of_a_person_s_directions_is_obeyed_or_declined_with_the_reason(toy: Make) -> None:
    run = toy(
        {
            "10-hidden.toml": direction("hidden", block="two", text="// gain: 0.3"),
            "11-barred.toml": direction("barred", more='[requires]\nfacts = ["machine.cores >= 64"]'),
        },
        limits=Limits(versions=0),
    )
    run.play()
    numbers = [run.send("direct", text=words) for words, _, _ in WISHES]
    run.send("limits", versions=None)
    run.play()
    answers = [e.event() for e in run.ask(lambda r: r.events(kinds=("direction",)))]
    for number, (words, state, told) in zip(numbers, WISHES, strict=True):
        mine = [a for a in answers if a.direction == f"person-{number}" and a.state in ("obeyed", "declined")]
        assert [(a.state, told in a.why) for a in mine] == [(state, True)], (words, mine)


def test_what_was_measured_before_is_told_instead_of_measured_again(toy: Make) -> None:
    run = toy({"10-slow.toml": direction("slow", text="// gain: 0.3")})
    run.play()
    number = run.send("direct", text="try slow")
    run.play()
    told = next(d for d in run.ask(lambda r: r.directions()) if d.direction == f"person-{number}")
    assert (told.state, "a1 had exactly these sources: regressed at 0.300x of v0" in told.why) == ("declined", True)
    assert run.ask(lambda r: r.counts()) == (1, 2)


def test_a_rolled_back_direction_becomes_possible_again_but_comes_last(toy: Make) -> None:
    book = {
        "10-big.toml": direction("big", expects=2.0, block="one", text="// gain: 2.0"),
        "11-small.toml": direction("small", expects=1.1, block="two", text="// gain: 1.1"),
    }
    run = toy(book, limits=Limits(versions=1))
    run.play()
    assert run.committed() == ["seed", "big"]
    run.send("rollback", version=0)
    run.send("limits", versions=None)
    assert run.play() == 0
    assert run.committed() == ["seed", "big", "small", "big"]


def test_a_pinned_direction_comes_first_and_a_vetoed_one_never(toy: Make) -> None:
    book = {
        "10-a.toml": direction("a", expects=1.9, block="one", text="// gain: 1.5\\n// slow: 0.5"),
        "11-b.toml": direction("b", expects=1.1, block="two"),
        "12-c.toml": direction("c", expects=1.5, block="three"),
        "13-d.toml": direction("d", expects=1.4, block="three"),
    }
    run = toy(book)
    process = run.start()
    run.until(lambda r: [d for d in r.directions() if d.state == "pursued"])
    run.send("pin", direction="b")
    run.send("veto", direction="c")
    assert process.wait(60) == 0
    assert run.committed() == ["seed", "a", "b", "d"]


def test_a_playbook_that_cannot_be_used_is_named_with_file_and_key(toy: Make) -> None:
    run = toy({"10-odd.toml": direction("odd") + "colour = 3\n"})
    assert run.play() == 2
    told = run.folder.engine_log.read_text()
    assert "10-odd.toml" in told
    assert "colour" in told


def test_a_problem_without_a_playbook_says_so(toy: Make, tmp_path: Path) -> None:
    run = toy({})
    assert run.play() == 2
    assert "holds no direction" in run.folder.engine_log.read_text()
