"""Starting runs, watching them without a control room, and leaving them."""

import os
import pty
import re
import select
import signal
import sys
import time
from pathlib import Path

from tiny import until
from waiting import versions_of

from engine.record.reader import Reader
from engine.record.run import RunFolder


def words(avo, name, **limits):
    return ("run", "--problem", avo.problem(), "--config", avo.config(**limits), "--name", name)


def read_until(process, pattern, deadline_s=30.0):
    """Standard output of a process until a pattern occurs."""
    text, end = "", time.monotonic() + deadline_s
    descriptor = process.stdout.fileno()
    while not re.search(pattern, text):
        assert time.monotonic() < end, text
        if select.select([descriptor], [], [], 0.2)[0]:
            chunk = os.read(descriptor, 65536).decode()
            assert chunk, f"ended early: {text}"
            text += chunk
    return text


def test_headless_prints_progress_then_versions_scores_and_where_the_run_lies(avo):
    said = avo(*words(avo, "plain", versions=4), "--headless")
    assert (said.code, said.err) == (0, "")
    assert "* v4 " in said.out
    assert "row 3 differs" in said.out
    assert re.search(r"FLOPS\s+seed\s+best\s+last\s+torch_sdpa\s+best/torch_sdpa", said.out)
    assert re.search(r"geomean\s+1\.\d+\s+\S+\s+6\.\d+\s+3\.\d+\s+\S+x", said.out)
    assert re.search(r"best v4: \S+x the seed, \S+x torch_sdpa; 5 versions, 6 attempts", said.out)
    assert said.out.rstrip().endswith(f"lies in {avo.runs / 'plain'}")


def test_without_a_terminal_a_run_is_headless_by_itself(avo):
    assert "lies in" in avo(*words(avo, "piped", versions=1)).out


def test_the_run_folder_is_private_and_holds_what_the_contract_says(avo):
    folder = avo.start("folder", versions=1)
    until(lambda: avo("status", "folder", "--json").json["state"] == "finished")
    assert folder.path.stat().st_mode & 0o777 == 0o700
    names = {p.name for p in folder.path.iterdir()}
    assert {"config.toml", "journal.db", "lineage", "workspace", "artifacts", "engine.log"} <= names


def test_the_engine_is_a_session_of_its_own_and_outlives_its_viewer(avo):
    with avo.popen(*words(avo, "outlive"), "--headless") as viewer:
        read_until(viewer, r"\* v4 ")
        viewer.kill()
        viewer.wait()
        viewer.stdout.close()
        viewer.stderr.close()
    status = avo("status", "outlive", "--json").json
    assert (status["state"], status["engine_alive"]) == ("running", True)
    assert os.getsid(status["pid"]) == status["pid"]


def test_one_ctrl_c_leaves_the_run_going_and_says_how_to_stop_it(avo):
    with avo.popen(*words(avo, "leave"), "--headless", start_new_session=True) as viewer:
        read_until(viewer, r"\* v4 ")
        os.killpg(viewer.pid, signal.SIGINT)
        out, err = viewer.communicate(timeout=30)
    assert (viewer.returncode, err) == (0, "")
    assert "goes on without this watcher" in out
    assert "avo stop leave" in out
    assert avo("status", "leave", "--json").json["state"] == "running"


def test_a_second_ctrl_c_stops_the_run(avo):
    with avo.popen(*words(avo, "halt"), "--headless", start_new_session=True) as viewer:
        read_until(viewer, r"\* v4 ")
        os.killpg(viewer.pid, signal.SIGINT)
        read_until(viewer, "again within")
        os.killpg(viewer.pid, signal.SIGINT)
        out, err = viewer.communicate(timeout=60)
    assert (viewer.returncode, err) == (0, "")
    assert "lies in" in out
    assert avo("status", "halt", "--json").json["state"] == "finished"


def test_a_watcher_of_an_engine_that_dies_says_so(avo):
    with avo.popen(*words(avo, "die"), "--headless") as viewer:
        read_until(viewer, r"\* v4 ")
        with Reader(avo.runs / "die" / "journal.db") as reader:
            os.killpg(reader.engine().pid, signal.SIGKILL)
        out, err = viewer.communicate(timeout=30)
    assert viewer.returncode == 2
    assert "the engine of run die died" in err
    assert "'avo resume die' goes on" in err
    assert "5 versions" in out


def test_another_runs_version_becomes_the_seed(avo, past):
    said = avo(*words(avo, "heir", versions=1), "--from", f"{past.runs / 'climb'}@v3", "--headless")
    assert said.code == 0, said
    seed = avo("versions", "heir", "--json").json[0]
    assert seed["geomean_tflops"] == 5.0  # as the scorer finds it here, not as it was recorded there


def test_sources_of_ones_own_become_the_seed(avo, tmp_path):
    (tmp_path / "mine.cpp").write_text("// speed: 1.5\n")
    said = avo(*words(avo, "own", versions=1), "--seed", str(tmp_path / "mine.cpp"), "--headless")
    assert said.code == 0, said
    assert avo("versions", "own", "--json").json[0]["geomean_tflops"] == 1.5
    both = ("--seed", str(tmp_path / "mine.cpp"), "--from", "own@v0")
    avo(*words(avo, "both"), *both).refused(2, "--seed and --from")


def test_a_seed_that_is_wrong_ends_the_run_with_the_reason(avo):
    folder = Path(avo.problem())
    (folder / "seed" / "attention.cpp").write_text("// speed: 1.0 // wrong\n")
    said = avo(*words(avo, "bad"), "--headless")
    assert said.code != 0
    assert "row 3 differs" in said.err + said.out


def test_an_engine_that_cannot_start_hands_its_line_on(avo):
    config = Path(avo.config())
    config.write_text(config.read_text().replace("climber:create", "no_such_module:create"))
    said = avo("run", "--problem", avo.problem(), "--config", str(config), "--name", "lost", "--headless")
    assert said.code == 2
    assert "no_such_module" in said.err
    assert "Traceback" not in said.err


def test_a_second_engine_on_a_run_is_refused_by_name_and_pid(avo, living):
    from avo_tui import launch

    pid = avo("status", "alive", "--json").json["pid"]
    before = dict(os.environ)
    os.environ.update(avo.env)
    try:
        try:
            launch.start(RunFolder(living.path))
        except Exception as error:
            message, code = str(error), error.exit_code  # type: ignore[attr-defined]
    finally:
        os.environ.clear()
        os.environ.update(before)
    assert code == 1
    assert str(pid) in message
    assert "alive" in message
    assert avo("status", "alive", "--json").json["pid"] == pid


def test_what_the_command_line_chooses_is_in_the_runs_config(avo):
    from engine.record.config import load

    options = ("--minutes", "2.5", "--versions", "1", "--threads", "2", "--unsafe-no-sandbox", "--model", "m-1")
    said = avo(*words(avo, "chosen"), *options, "--base-url", "http://127.0.0.1:9", "--headless")
    assert said.code == 0, said
    config = load(avo.runs / "chosen" / "config.toml")
    assert (config.limits.minutes, config.limits.versions, config.scorer.threads) == (2.5, 1, 2)
    assert (config.scorer.unsafe_no_sandbox, config.model.name) == (True, "m-1")
    assert config.problem_path == avo.problem()


def test_the_key_is_never_written(avo):
    env = {"ANTHROPIC_API_KEY": "sk-planted-0451"}
    said = avo(*words(avo, "secret", versions=1), "--headless", env=env)
    assert said.code == 0, said
    for path in avo.runs.rglob("*"):
        if path.is_file():
            assert b"sk-planted-0451" not in path.read_bytes(), path
    assert "sk-planted-0451" not in avo("doctor", env=env).out


def in_terminal(avo, term, *arguments):
    """Run `avo` in a pseudo-terminal until it ends; its exit code and everything that it wrote."""
    pid, master = pty.fork()
    if pid == 0:
        os.environ.update({**avo.env, "TERM": term})
        os.execv(sys.executable, [sys.executable, "-m", "avo_tui.cli", *arguments])
    written = b""
    while True:
        try:
            chunk = os.read(master, 65536)
        except OSError:
            break
        if not chunk:
            break
        written += chunk
    os.close(master)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), written.decode()


def test_a_dumb_terminal_gets_lines_and_no_escape_sequences(avo):
    code, text = in_terminal(avo, "dumb", *words(avo, "dumb", versions=2))
    assert code == 0
    assert "TERM=dumb" in text
    assert "new version v2, " in text
    assert "\x1b" not in text
    code, text = in_terminal(avo, "dumb", "attach", "dumb")
    assert code == 0
    assert text.count("TERM=dumb") == 1
    assert "new version v2, " in text
    assert "\x1b" not in text


def test_plain_attach_prints_lines_until_the_run_ends(avo, living):
    with avo.popen("attach", "alive", "--plain") as viewer:
        read_until(viewer, "v4")
        assert avo("stop", "alive").code == 0
        out, _ = viewer.communicate(timeout=30)
    assert viewer.returncode == 0
    assert "finished" in out
    assert versions_of(living) == 5
