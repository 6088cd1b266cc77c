"""Choosing: facts and what was learned decide, nothing else."""

from dataclasses import replace

from engine.operators.playbook.catalogue import Boost, Catalogue, Direction, Requires
from engine.operators.playbook.choose import Scene, assess, choose
from engine.operators.playbook.conditions import Condition, parse
from engine.operators.playbook.edits import File
from engine.operators.playbook.memory import Learned, Outcome, Trial


def made(name: str, expects: float = 1.1, **more: object) -> Direction:
    return Direction(name, name, "algorithm", "it helps", expects, edits=(File(f"{name}.cpp", "x"),), **more)  # type: ignore[arg-type]


def condition(text: str) -> Condition:
    found = parse(text)
    assert found is not None
    return found


def trial(name: str, outcome: Outcome | None, ratio: float | None, **more: object) -> Trial:
    return replace(Trial(1, name, 0, name, outcome, ratio, ratio, None, "row 3 differs"), **more)  # type: ignore[arg-type]


def order(book: list[Direction], scene: Scene, wanted: tuple[str, ...] = ()) -> list[str]:
    return [a.direction.id for a in choose(Catalogue(tuple(book)), scene, wanted)]


EMPTY = Scene({"attention.cpp": "constexpr int kTile = 4;"}, {}, Learned())


def test_the_gain_for_the_effort_orders() -> None:
    assert order([made("small"), made("leap", 3.0, effort=20.0), made("big", 2.0)], EMPTY) == ["big", "small", "leap"]


def test_evidence_multiplies_the_gain_only_where_it_holds() -> None:
    boost = Boost(condition("score.causal_over_full < 0.8"), 5.0)
    book = [made("a", 1.3), made("b", 1.1, boosts=(boost,))]
    assert order(book, EMPTY) == ["a", "b"]
    assert order(book, replace(EMPTY, facts={"score.causal_over_full": 0.5})) == ["b", "a"]
    assert order(book, replace(EMPTY, facts={"score.causal_over_full": 0.9})) == ["a", "b"]


def test_an_unknown_fact_bars_and_says_so() -> None:
    direction = made("a", requires=Requires((condition("machine.avx512 == true"),)))
    assert assess(direction, EMPTY).barred == "it needs machine.avx512 == true, and machine.avx512 is not known"


def test_the_supervisor_s_directions_come_first() -> None:
    assert order([made("a", 2.0), made("b"), made("c")], EMPTY, ("c", "b")) == ["c", "b", "a"]


def test_a_vetoed_direction_is_out_even_when_asked() -> None:
    scene = replace(EMPTY, vetoed=frozenset({"a"}))
    assert "vetoed" in assess(made("a"), scene, asked=True).barred


def test_what_was_incorrect_is_not_tried_again_unless_a_person_asks() -> None:
    scene = replace(EMPTY, learned=Learned((trial("a", "incorrect", None),)))
    assert assess(made("a"), scene).barred == "a1 was not correct: row 3 differs"
    assert assess(made("a"), scene, asked=True).possible


def test_a_near_miss_gets_a_second_look_after_three_commits_and_a_clear_loss_none() -> None:
    near, far = trial("near", "regressed", 0.97), trial("far", "regressed", 0.6)
    two = replace(EMPTY, learned=Learned((near, far), 2, frozenset({0, 1, 2})))
    three = replace(EMPTY, learned=Learned((near, far), 3, frozenset({0, 1, 2, 3})))
    assert order([made("near"), made("far")], two) == []
    assert order([made("near"), made("far")], three) == ["near"]
    again = replace(three, learned=replace(three.learned, trials=(near, replace(near, attempt=2, parent=3), far)))
    assert order([made("near"), made("far")], again) == []


def test_what_a_busy_machine_left_open_is_asked_again_soon() -> None:
    open_one = trial("a", "regressed", 1.4, blurred=True)
    others = tuple(trial(f"o{n}", "regressed", 0.5, attempt=n) for n in (2, 3))
    assert order([made("a")], replace(EMPTY, learned=Learned((open_one,)))) == []
    assert order([made("a")], replace(EMPTY, learned=Learned((open_one, *others)))) == ["a"]


def test_a_committed_direction_is_out_while_active_and_late_when_rolled_back() -> None:
    kept = trial("a", "improved", 1.5, version=1)
    book = [made("a", 1.5), made("b", 1.2)]
    assert order(book, replace(EMPTY, learned=Learned((kept,), 1, frozenset({0, 1})))) == ["b"]
    assert order(book, replace(EMPTY, learned=Learned((kept,), 0, frozenset({0})))) == ["b", "a"]


def test_an_unfinished_trial_does_not_bar() -> None:
    assert assess(made("a"), replace(EMPTY, learned=Learned((trial("a", None, None),)))).possible


def test_what_changes_nothing_is_in_already() -> None:
    scene = replace(EMPTY, sources={"a.cpp": "x"})
    assert assess(made("a"), scene).barred == "the incumbent has it already"


def test_a_late_direction_waits_for_the_ones_before_it() -> None:
    late = made("late", requires=Requires(after=("early",)))
    assert "early comes first" in assess(late, EMPTY).barred
    done = replace(EMPTY, learned=Learned((trial("early", "regressed", 0.5),)))
    assert assess(late, done).possible


def test_optimism_is_what_evaluate_promised_over_what_the_gate_found() -> None:
    pairs = tuple(trial(f"t{n}", "regressed", 1.0, attempt=n, seen=1.05) for n in range(3))
    assert abs(Learned(pairs).optimism() - 1.05) < 1e-9
    assert Learned().optimism() == 1.0


def test_before_the_end_a_glance_and_another_incumbent_are_no_last_word() -> None:
    glanced = trial("glanced", "regressed", None, seen=0.4)
    wrong = trial("wrong", "incorrect", None)
    judged = trial("judged", "regressed", 0.8)
    book = [made("glanced", 1.5), made("wrong", 1.5), made("judged", 1.5)]
    here = replace(EMPTY, learned=Learned((glanced, wrong, judged)), again=True)
    assert order(book, here) == ["glanced"]
    assert order([made("glanced", 1.05)], here) == []
    assert set(order(book, replace(here, learned=Learned((glanced, wrong, judged), 1, frozenset({0, 1}))))) == {
        "glanced",
        "wrong",
        "judged",
    }
    often = Learned((glanced, wrong, judged), 1, frozenset({0, 1}), {"glanced": 3, "wrong": 3, "judged": 3})
    assert order(book, replace(here, learned=often)) == []


def test_at_the_very_end_what_had_no_plain_verdict_gets_one_and_what_had_does_not() -> None:
    glanced = trial("glanced", "regressed", None, seen=0.4)
    open_yet = trial("open", "regressed", 1.1, blurred=True)
    judged, wrong = trial("judged", "regressed", 0.8), trial("wrong", "incorrect", None)
    book = [made("glanced", 1.5), made("open", 1.4), made("judged", 1.5), made("wrong", 1.5), made("little", 1.05)]
    often = Learned((glanced, open_yet, judged, wrong), 0, frozenset({0}), {"glanced": 5, "open": 5})
    end = replace(EMPTY, learned=often, again=True, patient=True, repeats={"little": "a3 had exactly these sources"})
    assert set(order(book, end)) == {"glanced", "open"}
    assert order(book, replace(end, patient=False)) == []
    worn = Learned(often.trials, 0, frozenset({0}), {"glanced": 12, "open": 12})
    assert order(book, replace(end, learned=worn)) == []
