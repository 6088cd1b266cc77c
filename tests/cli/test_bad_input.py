"""Bad input: each gets one clear line and the right exit code, and loses nothing."""

import codecs
import json
import os
import shutil
import sqlite3
import subprocess
import sys
import tempfile
from contextlib import closing
from pathlib import Path

import pytest
from tiny import until


def test_a_wrong_call_says_what_was_wrong_in_one_line(avo):
    avo("frobnicate").refused(2, "frobnicate")
    avo("status", "--nonsense").refused(2, "--nonsense")
    avo("run", "--minutes", "-3").refused(2, "'-3' is not a positive number")
    avo("run", "--minutes", "nan").refused(2, "not a positive number")
    avo("run", "--versions", "0").refused(2, "at least 1")
    avo("run", "--operator", "wizard").refused(2, "wizard")
    avo("rollback", "somewhere").refused(2, "vN")


def test_an_unknown_problem_is_named_with_those_there_are(avo, tmp_path):
    avo("run", "mha_tpu").refused(2, "mha_tpu", "mha_cpu", "gqa_cpu")
    avo("score", str(tmp_path), "--problem", "mha_tpu").refused(2, "mha_tpu")
    (tmp_path / "empty").mkdir()
    avo("run", "--problem", str(tmp_path / "empty")).refused(2, "no problem.toml")
    avo("run", "mha_cpu", "--problem", str(tmp_path)).refused(2, "two problems")


@pytest.mark.parametrize(
    ("line", "word"),
    [
        ("surprise = 1", "surprise"),
        ("seqlen = 0", "seqlen"),
        ("heads_q = 3\nheads_kv = 2", "heads_kv"),
        ("causal = 2", "causal"),
        ("this is no toml", "problem.toml"),
    ],
)
def test_a_problem_with_unknown_keys_or_impossible_values_is_refused(avo, line, word):
    path = Path(avo.problem()) / "problem.toml"
    shape = {"batch": "1", "seqlen": "8", "heads_q": "2", "heads_kv": "1", "head_dim": "16", "causal": "true"}
    given = dict(part.split(" = ") for part in line.splitlines() if " = " in part)
    lines = [f"{k} = {v}" for k, v in {**shape, **given}.items()] if given else [line]
    path.write_text(path.read_text() + '[[configuration]]\nname = "odd"\n' + "\n".join(lines) + "\n")
    avo("run", "--problem", str(path.parent)).refused(2, word, "problem.toml")
    assert not avo.runs.exists()


def test_an_unknown_run_is_named(avo, past):
    avo("status").refused(2, "no runs in", "avo run")
    avo("status", "ghost").refused(2, "no run 'ghost'", "avo runs")
    avo("status", "../../etc").refused(2, "no run")
    past("show", "climb", "v77").refused(2, "no version v77", "avo versions climb")
    past("diff", "climb", "v1", "v77").refused(2, "v77")
    past("log", "climb", "--kind", "gossip").refused(2, "gossip", "version")
    past("run", "tiny", "--from", "climb@v77").refused(2)


def test_a_source_that_is_missing_or_holds_no_sources_is_refused(avo, tmp_path):
    avo("score", str(tmp_path / "gone"), "--problem", "mha_cpu").refused(2, "no source")
    (tmp_path / "notes.txt").write_text("hello")
    avo("score", str(tmp_path), "--problem", "mha_cpu").refused(2, "holds no sources", ".cpp")
    (tmp_path / "k.cpp").write_text("int x;")
    words = ("score", str(tmp_path / "k.cpp"), "--problem", "mha_cpu")
    avo(*words, "--configuration", "huge").refused(2, "huge", "full_512")
    avo("run", "--seed", str(tmp_path / "gone")).refused(2, "holds no sources")


def test_a_name_that_is_taken_or_unusable_is_refused(avo):
    avo.start("mine", versions=1)
    words = ("run", "--problem", avo.problem(), "--config", avo.config(), "--detach")
    avo(*words, "--name", "mine").refused(2, "mine", "exists already")
    avo(*words, "--name", "../mine").refused(2, "not usable")
    avo(*words, "--name", "").refused(2, "not usable")


def test_runs_in_a_place_that_cannot_be_written_are_refused(avo, tmp_path):
    (tmp_path / "file").write_text("in the way")
    said = avo("run", "--problem", avo.problem(), "--config", avo.config(), "--runs", str(tmp_path / "file"))
    said.refused(2, "cannot make a run", "--runs")
    said = avo("run", "--problem", avo.problem(), "--config", avo.config(), "--runs", "/proc/avo")
    said.refused(2, "cannot make a run", "--runs")


def as_nobody(*words):
    """Run `avo` in a child without root's rights: its exit code and what it printed. Modules are loaded before."""
    import avo_tui.commands.look
    import avo_tui.commands.start
    import avo_tui.commands.steer
    from avo_tui.cli import main

    assert avo_tui.commands.look and avo_tui.commands.start and avo_tui.commands.steer
    codecs.lookup("ascii")  # which the child may not load any more
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        os.dup2(writing, 1)
        os.dup2(writing, 2)
        sys.stdout = open(1, "w", buffering=1, closefd=False)  # noqa: SIM115
        sys.stderr = open(2, "w", buffering=1, closefd=False)  # noqa: SIM115
        if os.getuid() == 0:
            os.setgroups([])
            os.setgid(65534)
            os.setuid(65534)
        os._exit(main(words))
    os.close(writing)
    with os.fdopen(reading) as pipe:
        said = pipe.read()
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), said


@pytest.mark.parametrize("closed", [True, False])
def test_a_read_only_run_folder_is_still_looked_at_and_commands_are_refused(past, closed):
    with tempfile.TemporaryDirectory() as place:
        Path(place).chmod(0o755)
        folder = Path(place) / "climb"
        shutil.copytree(past.runs / "climb", folder)
        if closed:
            for name in ("journal.db-wal", "journal.db-shm"):
                (folder / name).unlink(missing_ok=True)
        for path in (folder, *folder.rglob("*")):
            path.chmod(0o555 if path.is_dir() else 0o444)
        code, said = as_nobody("status", "climb", "--runs", place, "--json")
        assert (code, json.loads(said)["state"]) == (0, "finished"), said
        code, said = as_nobody("versions", "climb", "--runs", place)
        assert (code, len(said.splitlines())) == (0, 6), said
        code, said = as_nobody("resume", "climb", "--runs", place, "--versions", "9")
        assert code == 2
        assert len(said.splitlines()) == 1
        assert "journal.db" in said
        for path in (folder, *folder.rglob("*")):
            path.chmod(0o755)


def test_a_journal_of_a_newer_avo_is_not_touched(avo):
    folder = avo.start("future", versions=1)
    until(lambda: avo("status", "future", "--json").json["state"] == "finished")
    with sqlite3.connect(folder.journal) as db:
        db.execute("UPDATE meta SET value = '99' WHERE key = 'schema'")
    db.close()
    for words in (("status",), ("versions",), ("log",), ("pause",), ("resume",), ("attach", "--plain")):
        avo(words[0], "future", *words[1:]).refused(2, "schema 99", "upgrade")
    found = avo("verify", "future")
    assert found.code == 1
    assert "schema 99" in found.out and "upgrade avo-tui" in found.out and "avo restore" not in found.out
    with sqlite3.connect(folder.journal) as db:
        assert db.execute("SELECT value FROM meta WHERE key = 'schema'").fetchone() == ("99",)
    db.close()


def test_a_run_that_lost_its_journal_is_no_other_run_of_which_it_is_the_beginning(past, tmp_path):
    runs = ("--runs", str(tmp_path))
    for name in ("climb", "climb-2"):
        shutil.copytree(past.runs / "climb", tmp_path / name)
    (tmp_path / "climb" / "journal.db").unlink()
    for verb in ("status", "verify", "resume", "stop"):
        past(verb, "climb", *runs).refused(2, "run climb in", "no journal.db", "avo restore")
    assert past("status", "climb-2", *runs).code == 0


def test_a_journal_that_is_none_is_said_to_be_none(avo):
    (avo.runs / "junk").mkdir(parents=True)
    (avo.runs / "junk" / "journal.db").write_bytes(os.urandom(8192))
    avo("status", "junk").refused(2, "journal")
    (avo.runs / "junk" / "journal.db").write_bytes(b"")
    avo("status", "junk").refused(2, "journal")


def test_a_config_file_with_mistakes_is_refused(avo, tmp_path):
    words = ("run", "--problem", avo.problem(), "--config", str(tmp_path / "c.toml"))
    avo(*words).refused(2, "c.toml", "No such file")
    (tmp_path / "c.toml").write_text("velocity = 3\n")
    avo(*words).refused(2, "velocity")
    (tmp_path / "c.toml").write_text("[limits]\nminutes = 'soon'\n")
    avo(*words).refused(2, "minutes")


def test_a_damaged_lineage_is_said_to_be_damaged(avo):
    folder = avo.start("torn", versions=1)
    until(lambda: avo("status", "torn", "--json").json["state"] == "finished")
    shutil.rmtree(folder.lineage)
    avo("diff", "torn", "v0", "v1").refused(2, "lineage")
    avo("export", "torn", "v1", "-o", str(folder.path / "out")).refused(2, "lineage")
    assert avo("show", "torn", "v1").code == 0


def test_the_agent_without_a_key_is_refused(avo):
    avo("run", "--problem", avo.problem(), "--operator", "agent").refused(2, "ANTHROPIC_API_KEY")
    assert not avo.runs.exists()


@pytest.mark.parametrize("url", ["localhost:8080", "ftp://127.0.0.1:8080", "http://", "http://127.0.0.1:eighty"])
def test_an_address_where_no_model_can_be_served_is_refused(avo, url):
    avo("run", "mha_cpu", "--operator", "agent", "--base-url", url).refused(2, url, "such as http://127.0.0.1:8080")


def test_a_machine_without_compiler_or_git_is_told_what_to_install(avo, tmp_path):
    empty = tmp_path / "bin"
    empty.mkdir()
    only = {"PATH": str(empty)}
    avo("run", "--problem", avo.problem(), env=only).refused(2, "apt install git", "apt install g++")
    (empty / "git").symlink_to("/usr/bin/git")
    avo("run", "--problem", avo.problem(), env=only).refused(2, "a C++ compiler is missing", "apt install g++")
    avo("score", str(tmp_path), "--problem", "mha_cpu", env=only).refused(2, "apt install g++")


def test_the_control_room_needs_a_terminal_that_can_show_it(past):
    past("attach", "climb").refused(2, "not a terminal", "--plain")
    assert "v4" in past("attach", "climb", "--plain").out


def test_a_reader_that_stops_reading_is_no_error(past):
    with past.popen("log", "climb", stderr=subprocess.PIPE) as process:
        process.stdout.read(10)
        process.stdout.close()
        assert process.wait(30) == 0
        assert process.stderr.read() == ""


def test_an_unexpected_error_is_one_line_and_the_traceback_is_there_on_demand(past, tmp_path):
    (tmp_path / "sitecustomize.py").write_text(
        "import avo_tui.summary as s\ndef broken(self, now=None): raise ValueError('the cat')\ns.Summaries.take = broken\n"
    )
    env = {"PYTHONPATH": f"{tmp_path}{os.pathsep}{Path(__file__).parent.parent.parent}"}
    past("status", "climb", env=env).refused(2, "ValueError: the cat", "AVO_DEBUG=1")
    assert "Traceback" in past("status", "climb", env={**env, "AVO_DEBUG": "1"}).err


def test_help_and_version_need_nothing(avo):
    assert "avo run" in avo("--help").out
    assert avo("--version").out.startswith("avo ")
    assert avo("score", "--help").code == 0
    assert avo().code == 0
    assert sys.version_info >= (3, 11)


@pytest.fixture
def small_disk(tmp_path):
    """A disk of half a megabyte, full but for some pages."""
    place = tmp_path / "disk"
    place.mkdir()
    mounted = (
        os.geteuid() == 0
        and not subprocess.run(
            ["mount", "-t", "tmpfs", "-o", "size=640k", "none", str(place)], capture_output=True
        ).returncode
    )
    if not mounted:
        pytest.skip("needs root and mount, to make a full disk")
    yield place
    subprocess.run(["umount", "-l", str(place)], check=True)


def test_a_full_disk_is_said_and_what_was_written_can_still_be_read(past, small_disk, tmp_path):
    folder = small_disk / "climb"
    folder.mkdir()
    for name in ("journal.db", "config.toml"):
        shutil.copy(past.runs / "climb" / name, folder)
    with pytest.raises(OSError, match="No space left"):
        (small_disk / "rest").write_bytes(b"x" * (1 << 20))
    runs = ("--runs", str(small_disk))
    past("resume", "climb", "--versions", "9", *runs).refused(2, str(small_disk), "full")
    assert past("status", "climb", "--json", *runs).json["incumbent"]["version"] == 4
    past("report", "climb", "-o", str(small_disk / "out"), *runs).refused(2, "No space left", "another folder")
    past("export", "climb", "v1", "-o", str(small_disk / "kernel")).refused(2, "No space left")
    past("archive", "climb", "-o", str(small_disk / "climb.avo")).refused(2, "cannot write", "No space left")
    words = ("run", "--problem", past.problem(), "--config", past.config(), "--name", "new", *runs)
    past(*words, "--headless").refused(2, str(small_disk))
    assert not (small_disk / "new").exists()
    assert past("status", "climb", "--json", *runs).json["incumbent"]["version"] == 4
    assert len(past("versions", "climb", "--json", *runs).json) == 5


def test_where_a_journal_has_no_room_to_begin_the_run_begins_elsewhere_or_later_under_its_name(avo, small_disk):
    rest = small_disk / "rest"
    rest.write_bytes(b"x" * (580 << 10))
    words = ("run", "--problem", avo.problem(), "--config", avo.config(), "--name", "new", "--runs", str(small_disk))
    avo(*words, "--detach").refused(2, str(small_disk / "new"), "full", "start it again")
    assert [p.name for p in small_disk.iterdir()] == ["rest"]


def test_a_disk_without_a_byte_left_is_named_and_the_watchdog_gives_up_in_words(past, small_disk):
    folder = small_disk / "climb"
    folder.mkdir()
    for name in ("journal.db", "config.toml"):
        shutil.copy(past.runs / "climb" / name, folder)
    with closing(sqlite3.connect(folder / "journal.db", isolation_level=None)) as db:
        db.execute("UPDATE engine SET state = 'running'")
        db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    with pytest.raises(OSError, match="No space left"), (small_disk / "rest").open("wb", buffering=0) as rest:
        while rest.write(b"x" * 4096):
            pass
    past("resume", "climb", "--versions", "9", "--runs", str(small_disk)).refused(2, "full")
    words = [sys.executable, "-m", "engine.watch", str(folder), "--first-s", "0.01", "--crashes", "2"]
    done = subprocess.run(words, env=past.env, capture_output=True, text=True, timeout=60)
    assert done.returncode in (1, 2)
    assert all(line.startswith("avo watch: ") for line in done.stderr.splitlines()), done.stderr


def test_a_terminal_that_is_too_small_says_so_and_gives_the_keys_back(past):
    import fcntl
    import pty
    import struct
    import termios

    pid, master = pty.fork()
    if pid == 0:
        fcntl.ioctl(0, termios.TIOCSWINSZ, struct.pack("HHHH", 5, 20, 0, 0))
        os.execve(sys.executable, [sys.executable, "-m", "avo_tui.cli", "attach", "climb"], past.env)
    shown = b""
    while b"too small" not in shown or b"60\xc3\x9715" not in shown or b"q detaches" not in shown:
        shown += os.read(master, 65536)

    def ended():
        os.write(master, b"q")
        found, status = os.waitpid(pid, os.WNOHANG)
        return [status] if found else None

    assert until(ended) == [0]
    os.close(master)


def test_a_long_direction_of_one_word_is_refused_before_it_is_sent(avo, living):
    avo("direct", "alive", "x" * 100_000).refused(2, "longer than 64,000 characters")
    assert avo("commands", "alive", "--json").json == []
