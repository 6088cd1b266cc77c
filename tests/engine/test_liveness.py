"""Alive means: this pid, started then, on this boot of this machine."""

import os
import subprocess
import sys
import time

import pytest

from engine.record import liveness
from engine.record.liveness import Identity, engine_alive, identity, process_alive, run_state
from engine.record.reader import Engine


def engine_of(who, state="running", heartbeat_at=None):
    at = time.time() if heartbeat_at is None else heartbeat_at
    return Engine(who.pid, who.started, who.boot, who.host, at, state, "")


@pytest.fixture
def sleeper():
    process = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    yield process
    process.kill()
    process.wait()
    process.stdin.close()


def test_this_process_lives_and_an_ended_one_does_not(sleeper):
    who = identity(sleeper.pid)
    assert process_alive(identity())
    assert process_alive(who)
    sleeper.kill()
    while liveness.start_ticks(sleeper.pid) is not None:
        time.sleep(0.01)
    assert not process_alive(who)  # a zombie still, not waited for


def test_the_same_pid_started_at_another_time_or_boot_or_host_is_another_process():
    me = identity()
    assert not process_alive(Identity(me.pid, me.started + 1, me.boot, me.host))
    assert not process_alive(Identity(me.pid, me.started, "another boot", me.host))
    assert not process_alive(Identity(me.pid, me.started, me.boot, "another host"))


def test_the_state_is_the_engines_word_unless_it_died_without_one():
    me = identity()
    dead = Identity(me.pid, me.started + 1, me.boot, me.host)
    assert run_state(engine_of(me, "paused")) == "paused"
    assert run_state(engine_of(dead, "paused")) == "crashed"
    assert run_state(engine_of(dead, "finished")) == "finished"
    assert run_state(None) == "crashed"
    assert not engine_alive(None)


def test_on_another_host_only_the_heartbeat_tells():
    far = Identity(os.getpid(), 1.0, "boot", "elsewhere")
    assert engine_alive(engine_of(far, heartbeat_at=1000.0), now=1010.0)
    assert not engine_alive(engine_of(far, heartbeat_at=1000.0), now=1040.0)


def test_silence_is_never_negative_when_the_clock_jumps_back():
    assert liveness.silent_s(engine_of(identity(), heartbeat_at=1000.0), now=900.0) == 0.0
    assert liveness.silent_s(engine_of(identity(), heartbeat_at=1000.0), now=1005.0) == 5.0
