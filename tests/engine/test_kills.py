"""Two hundred kills in every phase of runs that are being steered; what must hold, holds."""

import random
import signal
import time
from collections import Counter
from pathlib import Path

import pytest
import reaper
from invariants import wrong_with
from messages_server import MessagesServer
from reaped import Climber

from engine.record import config

CLIMB, PHASED = [["climb"]], [["phases"]]
UNATTENDED = config.SupervisorConfig(repeats_review=10**6, failures_review=10**6, stall_pause=10**6)
ROOT = Path(__file__).parents[2]
AIM_S = 120.0  # a busy machine takes half a minute to fill a conversation
# What a run without a model goes through.
UNMODELLED = tuple(p for p in reaper.PHASES if p not in ("model stream", "compaction"))


def steer(run, chance):
    """One command that a person might send, at a moment of its own."""
    head = run.ask(lambda r: r.head())
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


def roll_back(run):
    """Give the engine a rollback or an undo to die in."""
    head = run.ask(lambda r: r.head())
    if run.ask(lambda r: r.undoable()) and head == 0:
        run.send("undo")
    elif head:
        run.send("rollback", version=head - 1)


def kill_anywhere(run, chance):
    """Kill at a moment that has nothing to do with what the engine does."""
    process = run.start()
    life = chance.uniform(0.2, 1.1)  # the moment of the kill is the test's subject, not a wait for something
    before = chance.uniform(0, life)
    time.sleep(before)
    if run.folder.journal.exists() and chance.random() < 0.5:
        steer(run, chance)
    time.sleep(life - before)
    process.kill()
    process.wait()


def kill_in(run, phase, chance):
    """Have the engine killed somewhere inside a phase; after a while, wherever it is then."""
    run.aim(phase, skip=chance.choice([0, 0, 1, 2]), linger_s=chance.choice([0.0, chance.uniform(0, 0.02)]))
    process = run.start()
    end = time.monotonic() + AIM_S
    while process.poll() is None and time.monotonic() < end:
        if phase == "rollback":
            roll_back(run)
        time.sleep(0.05)
    process.kill()
    process.wait()
    run.aim(None)


def kill_many(run, count, phases, chance, *, again=True):
    """Start the engine and kill it, `count` times, in each phase in turn and anywhere; how many died in which."""
    died, used = Counter(), [(0.0, 0)]
    turns = [*phases, None]
    for number in range(count):
        (run.folder.path / "phase").unlink(missing_ok=True)
        aim = turns[number % len(turns)]
        if aim is None:
            kill_anywhere(run, chance)
        else:
            kill_in(run, aim, chance)
        died[reaper.last_phase(run.folder.path)] += 1
        used.append(run.ask(used_so_far) or used[-1])
    assert used == sorted(used), "time or tokens went backwards"
    if again and (missed := [p for p in phases if p not in died]):  # a phase may end while a busy machine aims
        died += kill_many(run, len(missed), missed, chance, again=False)
    return died


def used_so_far(reader):
    """What must never shrink: (seconds worked, tokens read)."""
    return float(reader.meta("elapsed_s") or 0.0), reader.spend().input_tokens


def starts_of(reader):
    return len(reader.events(kinds=("run_started",), limit=10_000))


def settle(run, **fields):
    """One more engine that has nothing to do but to put things in order."""
    config.save(run.config_with(operator="scripted_operator:create", **fields), run.folder.config)
    run.script([["sleep", 0.1]], "again")
    starts = run.ask(starts_of) or 0
    process = run.start()
    run.until(lambda r: starts_of(r) > starts)
    run.until(lambda r: process.poll() is not None or not r.commands(states=("sent", "seen")))
    process.send_signal(signal.SIGTERM)
    assert run.finish(process) == 0, run.log()


def told(died):
    """The figures of a kill test, for whoever runs it with -s."""
    lines = ", ".join(f"{phase} {died[phase]}" for phase in sorted(died, key=died.get, reverse=True))
    print(f"\n{sum(died.values())} kills survived: {lines}")


@pytest.mark.parametrize(
    "kills",
    [
        pytest.param(7, marks=pytest.mark.timeout(300)),
        pytest.param(200, marks=[pytest.mark.soak, pytest.mark.timeout(1800)]),
    ],
)
def test_killed_in_every_phase_while_it_is_steered_nothing_is_lost_and_nothing_done_twice(new_run, kills):
    run = new_run(CLIMB, PHASED, "again", operator="reaped:scripted", supervisor=UNATTENDED)
    died = kill_many(run, kills, UNMODELLED, random.Random(kills))
    settle(run)
    told(died)
    assert wrong_with(run.folder) == []
    assert not set(UNMODELLED) - set(died), f"no kill fell into {set(UNMODELLED) - set(died)}"


@pytest.mark.soak
@pytest.mark.timeout(1800)
def test_the_agent_killed_in_every_phase_loses_nothing_and_does_nothing_twice(new_run):
    """A hundred times; tests/agent/test_agent_killed.py kills at random moments, and in every run of the tests."""
    with MessagesServer(Climber(), window_tokens=40_000, keep=2) as server:
        model = config.ModelConfig(name="test-model", base_url=server.url, window_tokens=40_000)
        run = new_run(operator="reaped:model", model=model, supervisor=UNATTENDED)
        died = kill_many(run, 100, reaper.PHASES, random.Random(100))
        assert not server.rejected, server.rejected[:3]
    settle(run)
    told(died)
    assert wrong_with(run.folder) == []
    assert not set(reaper.PHASES) - set(died), f"no kill fell into {set(reaper.PHASES) - set(died)}"


@pytest.mark.soak
@pytest.mark.timeout(900)
def test_killed_while_a_real_scorer_works_no_process_is_left(new_run):
    """The real scorer with its compiler, its sandbox and its worker, killed with the engine and without."""
    small = ROOT / "tests" / "scorer" / "small"
    run = new_run([["real"]], "again", operator="reaped:scripted", supervisor=UNATTENDED)
    real = {"problem": "small", "problem_path": str(small), "scorer": config.ScorerConfig(threads=1, patience_s=0.5)}
    config.save(run.config_with(**real), run.folder.config)
    died = Counter()
    for phase in ("build", "measurement", "gate") * 4:
        (run.folder.path / "phase").unlink(missing_ok=True)
        run.aim(phase, skip=0, linger_s=0.1)
        assert run.start().wait(90) == -signal.SIGKILL, run.log()
        died[reaper.last_phase(run.folder.path)] += 1
    run.aim(None)
    settle(run, **real)
    told(died)
    assert wrong_with(run.folder) == []
    assert died == {"build": 4, "measurement": 4, "gate": 4}
