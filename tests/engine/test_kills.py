"""Two hundred kills at random moments of a run that is being steered; what must hold, holds."""

import random
import signal
import time
from collections import Counter

import pytest
from test_resume import check

from engine.host import kill_orphan
from engine.record import events as ev

CLIMB = [["climb"]]


def steer(run, chance):
    """One command that a person might send, at a moment of its own."""
    with run.read() as reader:
        head = reader.head()
    if head is None:
        return
    verb = chance.choice(["rollback", "rollback", "undo", "direct", "limits", "interrupt", "stop", "pause"])
    arguments = {
        "rollback": {"version": max(0, head - chance.randint(1, 3))},
        "direct": {"text": "wider"},
        "limits": {"versions": chance.randint(5000, 9000)},
    }
    run.send(verb, **arguments.get(verb, {}))
    if verb in ("interrupt", "pause"):
        run.send("resume")


def kill_many(run, count, chance):
    """Start the engine and kill it, `count` times, with a command in between half the time."""
    for _ in range(count):
        process = run.start()
        life = chance.uniform(0.2, 1.1)  # the moment of the kill is the test's subject, not a wait for something
        before = chance.uniform(0, life)
        time.sleep(before)
        if run.folder.journal.exists() and chance.random() < 0.5:
            steer(run, chance)
        time.sleep(life - before)
        process.kill()
        process.wait()


def starts_of(reader):
    return len(reader.events(kinds=("run_started",), limit=10_000))


def settle(run):
    """One more engine that has nothing to do but to put things in order."""
    run.script([["sleep", 0.1]], "again")
    starts = run.ask(starts_of)
    process = run.start()
    run.until(lambda r: starts_of(r) > starts)
    run.until(lambda r: process.poll() is not None or not r.commands(states=("sent", "seen")))
    process.send_signal(signal.SIGTERM)
    assert run.finish(process) == 0, run.log()


def check_commands(run):
    """Each command came to one end, and moved the head at most once."""
    with run.read() as reader:
        commands = reader.commands(limit=100_000)
        facts = [e.event() for e in reader.events(kinds=("command", "head"), limit=1_000_000)]
    ends = Counter(f.command for f in facts if isinstance(f, ev.CommandChanged) and f.state != "seen")
    moves = Counter(f.command for f in facts if isinstance(f, ev.HeadMoved))
    assert set(ends) == {c.command for c in commands}
    assert set(ends.values()) <= {1}
    assert set(moves.values()) <= {1}


@pytest.mark.parametrize("kills", [8, pytest.param(200, marks=[pytest.mark.soak, pytest.mark.timeout(900)])])
def test_killed_while_it_is_steered_nothing_is_lost_and_nothing_done_twice(new_run, kills):
    run = new_run(CLIMB, "again")
    kill_many(run, kills, random.Random(kills))
    settle(run)
    check(run)
    check_commands(run)
    assert not kill_orphan(run.folder.artifacts)
    left = [
        *run.folder.artifacts.rglob(".new-*"),
        *run.folder.workspace.glob(".new-*"),
        *run.folder.path.glob("journal.new*"),
    ]
    assert left == []
