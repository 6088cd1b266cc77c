"""shell and job with real processes: what they print, and that none outlives its command."""

from __future__ import annotations

import asyncio
import os
import secrets
import select
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from engine.scorer import sandbox
from engine.session import Interrupted
from engine.tools import jobs, warden
from tests.tools.conftest import Bench

THIS_FILE = Path(__file__).resolve()


async def until(condition, deadline_s: float = 10.0) -> None:
    """Poll until a condition holds."""
    end = time.monotonic() + deadline_s
    while not condition():
        assert time.monotonic() < end, "the condition did not come true in time"
        await asyncio.sleep(0.01)


async def test_a_command_answers_with_its_output_and_status(bench: Bench):
    done = await bench.call("shell", command="echo to both; echo here >&2; exit 3")
    assert not done.ok
    assert done.text.startswith("exit 3 after ")
    assert done.text.splitlines()[1:] == ["to both", "here"]
    assert done.data["exit"] == 3
    assert (bench.folder.path / done.log).read_text() == "to both\nhere\n"


async def test_a_command_works_in_the_workspace_with_nothing_on_its_input(bench: Bench):
    (bench.workspace / "kernel.cpp").write_text("int x;\n")
    done = await bench.call("shell", command="cat; ls; echo made > made.txt; cat kernel.cpp")
    assert done.ok, done.text
    assert done.text.splitlines()[1:] == ["kernel.cpp", "int x;"]
    assert (bench.workspace / "made.txt").read_text() == "made\n"


async def test_the_engines_environment_and_its_key_are_not_the_commands(bench: Bench, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("ANTHROPIC_API_KEY", "sk-secret-of-the-test")
    monkeypatch.setenv("SOME_TOKEN", "sk-secret-of-the-test")
    done = await bench.call("shell", command="env; cat /proc/self/environ | tr '\\0' '\\n'")
    assert "sk-secret" not in done.text
    assert "ANTHROPIC" not in done.text


async def test_a_command_that_hangs_is_ended_with_all_it_started(bench: Bench, processes):
    word = f"31.{secrets.randbelow(10**9)}"
    done = await bench.call("shell", command=f"sleep {word} & (setsid sleep {word} &) ; sleep {word}", timeout_s=1)
    assert not done.ok
    assert done.text.startswith("ended after its 1 s")
    assert done.data["seconds"] < 5
    assert processes(word) == 0


async def test_what_a_command_leaves_behind_is_ended_when_it_succeeds(bench: Bench, processes):
    word = f"32.{secrets.randbelow(10**9)}"
    done = await bench.call(
        "shell", command=f"sleep {word} & (setsid nohup sleep {word} >/dev/null 2>&1 &) ; echo started"
    )
    assert done.ok, done.text
    assert done.data["seconds"] < 5
    assert processes(word) == 0


async def test_an_interrupt_ends_the_command_at_once(bench: Bench, processes):
    word = f"33.{secrets.randbelow(10**9)}"
    call = asyncio.ensure_future(bench.call("shell", command=f"(setsid sleep {word} &) ; sleep {word}"))
    await until(lambda: processes(f"sleep\0{word}") >= 2)
    start = time.monotonic()
    bench.session.interrupt("the person wants the machine")
    with pytest.raises(Interrupted):
        await call
    assert time.monotonic() - start < 3
    await until(lambda: processes(word) == 0)


def test_a_killed_engine_takes_its_commands_along(tmp_path: Path, processes):
    word = f"34.{secrets.randbelow(10**9)}"
    engine = (
        "import os, subprocess, sys\n"
        "c = subprocess.Popen([sys.executable, '-I', '-S', sys.argv[1], str(os.getpid()), '1000000', 'bash', '-c', sys.argv[2]],"
        " start_new_session=True)\nprint('up', flush=True)\nc.wait()"
    )
    script = f"(setsid sleep {word} &) ; sleep {word}"
    command = [sys.executable, "-c", engine, warden.__file__, script]
    with subprocess.Popen(command, stdout=subprocess.PIPE, start_new_session=True) as child:
        assert child.stdout is not None and child.stdout.readline() == b"up\n"
        asyncio.run(until(lambda: processes(f"sleep\0{word}") >= 2))
        os.kill(child.pid, signal.SIGKILL)
        child.wait()
    asyncio.run(until(lambda: processes(word) == 0))


async def test_a_flood_is_capped_in_the_answer_and_on_the_disk(bench: Bench):
    done = await bench.call("shell", command="echo first; head -c 40000000 /dev/zero | tr '\\0' 'x'; echo; echo last")
    assert done.ok
    assert len(done.text) < 17_000
    assert "\nfirst\n" in done.text and "last\n" in done.text
    assert "bytes left out; the log has them" in done.text
    assert (bench.folder.path / done.log).stat().st_size < 1.1 * jobs.KEPT_BYTES


async def test_a_command_that_would_fill_the_disk_is_ended(bench: Bench, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(jobs, "FILE_LIMIT_BYTES", 2 * 1024 * 1024)
    done = await bench.call("shell", command="yes", timeout_s=60)
    assert not done.ok
    assert done.text.startswith("ended because a file passed ")


async def test_a_command_that_fills_the_workspace_is_ended_and_one_that_clears_it_is_not(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(jobs, "LOOK_S", 0.05)
    monkeypatch.setattr(sandbox, "WORKSPACE_LIMIT_FILES", 20)
    filled = await bench.call("shell", command="i=0; while :; do : > f$((i=i+1)); sleep 0.01; done", timeout_s=30)
    assert not filled.ok and filled.data["seconds"] < 20
    assert filled.text.startswith("the workspace holds more than 20 files: delete what is not needed; ended by")
    cleared = await bench.call("shell", command="sleep 0.5; rm f*; ls")
    assert cleared.data["exit"] == 0 and not list(bench.workspace.iterdir())
    assert (await bench.call("shell", command="echo room again")).text.startswith("exit 0")


async def test_folders_nested_out_of_sight_are_seen_and_neither_hide_files_nor_break_a_tool(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(jobs, "LOOK_S", 0.05)
    nest = "mkdir -p $(printf 'd/%.0s' $(seq 1500))"  # deeper than Python's stack; twice that is too deep for a path
    done = await bench.call("shell", command=f"{nest}; cd -P $(printf 'd/%.0s' $(seq 1500)); {nest}; sleep 60")
    assert not done.ok and done.data["seconds"] < 50
    assert done.text.startswith("the workspace's folders are more than 100 deep: delete what is not needed; ended by")
    assert (await bench.call("find", pattern="nothing")).text == "nothing matches 'nothing'"
    assert (await bench.call("shell", command="rm -rf d; ls")).data["exit"] == 0
    assert not list(bench.workspace.iterdir())


async def test_terminal_escapes_do_not_reach_the_reader(bench: Bench):
    done = await bench.call("shell", command=r"printf '\033[31mred\033[0m \033]0;title\007 \a plain\n'")
    assert done.text.splitlines()[1].split() == ["red", "plain"]


async def test_output_is_shown_while_the_command_runs(bench: Bench):
    call = asyncio.ensure_future(bench.call("shell", command="echo early; sleep 30", timeout_s=30))
    await until(lambda: "early" in bench.reader.live().get("output", (0.0, ""))[1])
    bench.session.interrupt("seen")
    with pytest.raises(Interrupted):
        await call


async def test_a_background_job_is_waited_for_watched_and_killed(bench: Bench, processes):
    word = f"35.{secrets.randbelow(10**9)}"
    job = (await bench.call("shell", command=f"echo begun; sleep {word}", background=True)).data["job"]
    watched = await bench.call("job", id=job, action="wait", wait_s=1)
    assert watched.data["running"] and "begun" in watched.text
    killed = await bench.call("job", id=job, action="kill")
    assert killed.text.startswith("killed; ")
    assert processes(word) == 0
    again = await bench.call("job", id=job, action="tail")
    assert "begun" in again.text
    quick = (await bench.call("shell", command="echo done", background=True)).data["job"]
    ended = await bench.call("job", id=quick, action="wait")
    assert ended.ok and ended.text.endswith("done")


async def test_an_unknown_job_is_answered_with_those_there_are(bench: Bench):
    assert (await bench.call("job", id="j9", action="tail")).text == "no job 'j9'; there are: none"


async def test_scores_are_not_taken_while_a_job_disturbs(bench: Bench):
    job = (await bench.call("shell", command="sleep 30", background=True)).data["job"]
    for tool, arguments in (("evaluate", {}), ("profile", {}), ("submit", {"message": "x"})):
        refused = await bench.call(tool, **arguments)
        assert not refused.ok
        assert f"disturb the measurement: {job} (sleep 30)" in refused.text
    assert bench.trials.asked == []
    await bench.call("job", id=job, action="kill")
    assert (await bench.call("evaluate")).ok


async def test_too_many_jobs_are_refused(bench: Bench):
    for _ in range(jobs.MOST_JOBS):
        assert (await bench.call("shell", command="sleep 30", background=True)).ok
    refused = await bench.call("shell", command="true")
    assert refused.text == "8 jobs are running already; wait for one or kill one ('job')"


async def test_a_command_without_a_shell_program_is_an_answer(bench: Bench):
    done = await bench.call("shell", command="no-such-program --at all")
    assert (done.ok, done.data["exit"]) == (False, 127)


async def test_a_command_sees_neither_the_run_nor_the_scorer_and_writes_only_its_workspace(
    bench: Bench, tmp_path: Path
):
    (tmp_path / "secret.txt").write_text("secret")
    done = await bench.call(
        "shell",
        command=f"cat {bench.folder.journal} {tmp_path}/secret.txt {THIS_FILE}; ls {bench.folder.lineage}; "
        f"echo x > {tmp_path}/planted; echo x > /usr/planted; ls /usr | tr '\\n' ' '",
    )
    assert "secret" not in done.text.replace("secret.txt", "")
    assert "a command sees neither" not in done.text
    assert done.text.count("No such file") + done.text.count("Permission denied") + done.text.count("Read-only") >= 5
    assert not (tmp_path / "planted").exists()
    assert "planted" not in done.text.splitlines()[-1]


async def test_a_command_has_no_network_unless_the_run_allows_it(bench: Bench):
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        done = await bench.call("shell", command=f"exec 3<>/dev/tcp/127.0.0.1/{port} && echo connected")
    assert not done.ok
    assert "connected" not in done.text.splitlines()


# Each link forks the next one and ends at once, in a group of its own; whoever lives holds the pipe.
CHAIN = """
import os, time
if os.fork():
    os._exit(0)
os.setpgid(0, 0)
end = time.monotonic() + 20
while time.monotonic() < end:
    if os.fork():
        os._exit(0)
    time.sleep(0.001)
"""


def test_a_chain_of_forks_does_not_outrun_the_warden():
    read, write = os.pipe()
    ended = [sys.executable, "-I", "-S", warden.__file__, str(os.getpid()), "1000000", sys.executable, "-c", CHAIN]
    with subprocess.Popen(ended, pass_fds=(write,)) as process:
        os.close(write)
        assert process.wait(30) == 0
    with os.fdopen(read, "rb") as held:
        assert select.select([held], [], [], 5.0)[0], "a process outlived its command"
