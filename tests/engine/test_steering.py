"""Commands: seen, then applied or refused with a reason, each once."""

import pytest

from engine.lineage import Lineage
from engine.record.liveness import run_state

CLIMB = [["climb"]]
WAIT = [["sleep", 600]]
SHORT = [["sleep", 0.1]]


def life(run, number):
    entries = run.ask(lambda r: [e.event() for e in r.events(kinds=("command",))])
    return [e.state for e in entries if e.command == number]


def steered(run):
    """Start, and wait until the first turn works."""
    process = run.start()
    run.until(lambda r: r.events(kinds=("tool_started",)))
    return process


def stop(run, process):
    run.send("stop")
    assert run.finish(process) == 0, run.log()


def climbed(new_run, *then):
    """A run paused with v1, v2 and v3 committed."""
    run = new_run(CLIMB, CLIMB, CLIMB, CLIMB, WAIT, *(then or (SHORT, "again")))
    process = run.start()
    run.until(lambda r: r.counts()[0] == 4 and run.doing(r).startswith("sleep"))
    assert run.answered(run.send("interrupt"))[0] == "applied"
    return run, process


def test_pause_waits_for_the_boundary_frees_the_scorer_and_resume_goes_on(new_run):
    run = new_run([["write", "// speed: 2\n// slow: 0.7"], ["evaluate"]], SHORT, "again")
    process = steered(run)
    number = run.send("pause")
    assert run.answered(number) == ("applied", "")
    run.until(lambda r: run.state(r) == "paused" and run.doing(r) == "paused")
    assert run.ask(lambda r: len(r.attempts())) == 2
    run.until(lambda r: not (run.folder.artifacts / "scorer.pid").exists())
    before = run.ask(lambda r: (r.meta("elapsed_s"), r.last_seq()))
    beat = run.ask(lambda r: r.engine().heartbeat_at)
    run.until(lambda r: r.engine().heartbeat_at > beat + 1.5)
    assert run.ask(lambda r: (r.meta("elapsed_s"), r.last_seq())) == before
    assert run.answered(run.send("pause")) == ("refused", "the run is paused already")
    assert run.answered(run.send("resume"))[0] == "applied"
    run.until(lambda r: run.state(r) == "running" and r.last_seq() > before[1] + 3)
    assert run.answered(run.send("resume")) == ("refused", "the run is not paused")
    assert life(run, number) == ["seen", "applied"]
    stop(run, process)


def test_interrupt_acts_at_once_on_a_tool_and_on_the_scorer(new_run):
    run = new_run(WAIT, [["write", "// mute"], ["evaluate"]], SHORT, "again")
    process = steered(run)
    assert run.answered(run.send("interrupt"))[0] == "applied"
    finished = run.ask(lambda r: r.events(kinds=("tool_finished",))[-1].event())
    assert finished.text == "interrupted: ada interrupted"
    assert finished.seconds < 20
    run.until(lambda r: run.state(r) == "paused")
    run.send("resume")
    run.until(lambda r: "building" in run.doing(r))
    run.send("interrupt")
    run.until(lambda r: run.doing(r) == "paused")
    assert len(run.ask(lambda r: r.attempts())) == 1
    run.send("resume")
    run.until(lambda r: len(r.events(kinds=("tool_finished",))) > 2)
    run.send("stop")
    run.send("interrupt")
    assert run.finish(process) == 0


def test_a_direction_is_sent_seen_and_answered(new_run):
    run = new_run(SHORT, [["sleep", 0.1], ["inbox"]], "again")
    process = steered(run)
    first = run.send("direct", text="use wider vectors\nplease")
    second = run.send("direct", text="do not use vectors")
    run.until(lambda r: [d.state for d in r.directions()] == ["obeyed", "declined"])
    entries = run.ask(lambda r: [e.event() for e in r.events(kinds=("direction",))])
    mine = [(e.state, e.turn > 0) for e in entries if e.direction == f"person-{first}"]
    assert mine == [("sent", False), ("seen", True), ("obeyed", True)]
    assert run.ask(lambda r: r.directions())[0].name == "use wider vectors"
    assert life(run, second) == ["seen", "applied"]
    stop(run, process)


def test_a_direction_that_waits_can_be_withdrawn_and_a_command_cancelled(new_run):
    run = new_run(WAIT)
    process = steered(run)
    direction = run.send("direct", text="use wider vectors")
    run.answered(direction)
    pause = run.send("pause")
    run.until(lambda r: life(run, pause) == ["seen"])
    assert run.answered(run.send("cancel", command=direction)) == ("applied", "the direction is withdrawn")
    assert run.answered(run.send("cancel", command=pause))[0] == "applied"
    assert run.answered(pause) == ("refused", "cancelled by ada")
    assert run.answered(run.send("cancel", command=99))[1] == "command 99 is not waiting any more"
    assert run.ask(lambda r: r.directions()[0].state) == "withdrawn"
    run.send("stop")
    run.send("interrupt")
    assert run.finish(process) == 0


def test_rollback_and_undo_move_the_head_the_workspace_and_the_lineage_together(new_run):
    run, process = climbed(new_run)
    number = run.send("rollback", version=1)
    assert run.answered(number) == ("applied", "the incumbent is v1")
    assert run.ask(lambda r: [v.version for v in r.versions() if v.active]) == [0, 1]
    lineage = Lineage(run.folder.lineage)
    assert lineage.head() == 1
    source = lineage.files(1)["attention.cpp"]
    run.until(lambda r: (run.folder.workspace / "attention.cpp").read_bytes() == source)
    assert run.answered(run.send("undo")) == ("applied", "the incumbent is v3")
    assert run.ask(lambda r: [v.active for v in r.versions()]) == [True] * 4
    assert Lineage(run.folder.lineage).head() == 3
    assert run.answered(run.send("undo")) == ("refused", "there is no rollback to undo")
    stop(run, process)


def test_a_rollback_that_makes_no_sense_is_refused_with_the_reason(new_run):
    run, process = climbed(new_run)
    asked = [
        (run.send("rollback", version=v), why) for v, why in ((9, "there is no v9"), (3, "v3 is the incumbent already"))
    ]
    asked.append((run.send("rollback", version="x"), "rollback needs a number: version"))
    asked.append((run.send("rollback"), "rollback needs a number: version"))
    run.answered(run.send("rollback", version=1))
    asked.append((run.send("rollback", version=2), "v2 was withdrawn by an earlier rollback"))
    for number, why in asked:
        state, reason = run.answered(number)
        assert state == "refused"
        assert why in reason
    assert run.ask(lambda r: r.head()) == 1
    stop(run, process)


def test_two_people_at_once_the_second_one_hears_that_the_lineage_changed(new_run):
    from engine.record import commands

    run, process = climbed(new_run)
    looked = run.ask(lambda r: r.last_seq())
    first = commands.send(run.folder.journal, "rollback", {"version": 2}, person="ada", issued_seq=looked)
    second = commands.send(run.folder.journal, "rollback", {"version": 1}, person="bob", issued_seq=looked)
    assert run.answered(first)[0] == "applied"
    state, reason = run.answered(second)
    assert state == "refused"
    assert "the lineage changed after you looked" in reason
    assert run.ask(lambda r: r.head()) == 2
    stop(run, process)


def test_an_undo_that_was_typed_while_its_own_rollback_waited_is_no_surprise(new_run):
    from engine.record import commands

    run, process = climbed(new_run)
    looked = run.ask(lambda r: r.last_seq())
    first = commands.send(run.folder.journal, "rollback", {"version": 1}, person="ada", issued_seq=looked)
    second = commands.send(run.folder.journal, "undo", person="ada", issued_seq=looked)
    assert [run.answered(n)[0] for n in (first, second)] == ["applied", "applied"]
    assert run.ask(lambda r: r.head()) == 3
    again = commands.send(run.folder.journal, "rollback", {"version": 2}, person="ada", issued_seq=looked)
    assert run.answered(again)[0] == "applied"
    stop(run, process)


def test_commits_after_a_rollback_take_new_numbers_from_the_older_parent(new_run):
    run, process = climbed(new_run, [["write", "// speed: 9"], ["submit"]], SHORT, "again")
    run.answered(run.send("rollback", version=1))
    run.send("resume")
    run.until(lambda r: r.counts()[0] == 5)
    newest = run.ask(lambda r: r.versions())[-1]
    assert (newest.version, newest.parent) == (4, 1)
    assert run.ask(lambda r: [v.version for v in r.versions() if v.active]) == [0, 1, 4]
    stop(run, process)


def test_pins_and_vetoes_name_known_directions_and_undo_each_other(new_run):
    run = new_run([["offer", "a", "b"], ["sleep", 0.1]], SHORT, "again")
    process = steered(run)
    assert run.answered(run.send("pin", direction="a"))[0] == "applied"
    assert run.answered(run.send("pin", direction="a"))[1] == "'a' is pinned already"
    assert run.answered(run.send("veto", direction="a"))[0] == "applied"
    assert run.answered(run.send("veto", direction="z"))[1] == "there is no direction 'z'"
    known = run.ask(lambda r: r.directions())
    offered = [d for d in known if d.source != "supervisor"]  # it may have had time to nudge
    assert {d.direction: d.state for d in offered} == {"a": "vetoed", "b": "offered"}
    stop(run, process)


def test_limits_change_while_the_run_works(new_run):
    run = new_run(SHORT, "again")
    process = steered(run)
    assert run.answered(run.send("limits", versions=5, minutes=60)) == ("applied", "limits: versions 5, minutes 60")
    assert run.answered(run.send("limits", versions=-1))[1] == "limit versions = -1 is not a whole number above zero"
    assert run.answered(run.send("limits", hours=1))[1].startswith("unknown limit 'hours'")
    assert run.answered(run.send("limits"))[1].startswith("no limit was named")
    run.send("limits", minutes=0.001)
    assert run.finish(process) == 0
    assert '"versions": 5' in run.ask(lambda r: r.meta("limits"))


@pytest.mark.parametrize("number", [7, "x"])
def test_an_alert_is_acknowledged_once(new_run, number):
    run = new_run([["raise"]], "again")
    process = run.start()
    run.until(lambda r: r.alerts(open_only=True))
    assert run.answered(run.send("acknowledge", alert=number))[0] == "refused"
    assert run.answered(run.send("acknowledge", alert=1))[0] == "applied"
    assert run.answered(run.send("acknowledge", alert=1))[1] == "alert 1 was closed by ada already"
    stop(run, process)


def test_commands_sent_to_a_dead_engine_are_applied_by_the_next(new_run):
    run = new_run(SHORT, "again")
    process = steered(run)
    process.kill()
    process.wait()
    assert run_state(run.ask(lambda r: r.engine())) == "crashed"
    number = run.send("pause")
    second = run.start()
    assert run.answered(number)[0] == "applied"
    second.kill()
    second.wait()
    third = run.start()
    run.until(lambda r: len(r.events(kinds=("run_started",))) == 3 and run.state(r) == "paused")
    assert life(run, number) == ["seen", "applied"]
    run.send("resume")
    run.until(lambda r: run.state(r) == "running")
    stop(run, third)
