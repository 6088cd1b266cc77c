"""A run steered by typed lines: what a screen reader reads, what a script writes, what a dumb terminal shows."""

import os
import pty
import re
import select
import shutil
import signal
import subprocess
import sys

from test_running import words
from tiny import until
from waiting import versions_of

from engine.record import events as ev
from engine.record.journal import Journal
from engine.record.reader import Reader
from engine.record.run import RunFolder


class Viewer:
    """A watching `avo`: everything that it wrote, looked through from what was said last."""

    def __init__(self, source, sink):
        self.source, self.sink, self.text, self.at = source, sink, "", 0

    def say(self, line):
        self.at = len(self.text)
        os.write(self.sink, line.encode() + b"\n")

    def hear(self, pattern):
        try:
            found = until(lambda: self._heard(pattern), 20.0)
        except AssertionError:
            raise AssertionError(f"{pattern!r} was not heard after: {self.text[self.at :]}") from None
        return found[0]

    def _heard(self, pattern):
        while select.select([self.source], [], [], 0.02)[0]:
            try:
                chunk = os.read(self.source, 65536)
            except OSError:  # a terminal whose other end is closed
                break
            self.text += chunk.decode()
            if not chunk:
                break
        return re.compile(pattern).search(self.text, self.at)


def of(process):
    return Viewer(process.stdout.fileno(), process.stdin.fileno())


def commands_of(folder):
    with Reader(folder.journal) as reader:
        return [(c.verb, c.state, c.person) for c in reader.commands()]


def test_typed_lines_steer_a_run_and_say_what_became_of_them(avo, living):
    with avo.popen("attach", "alive", "--plain", stdin=subprocess.PIPE) as process:
        viewer = of(process)
        viewer.hear("alive  running")
        viewer.hear("type help")
        viewer.hear(r"new version v4, \S+ .FLOPS, [0-9.]+ times the one before: a wider tile")
        viewer.say("pause")
        viewer.hear(r"command: #1 pause by ada: applied")
        viewer.hear(r"state: paused")
        viewer.say("direct try a wider tile, and 'quotes' too")
        viewer.hear(r"#2 direct")
        viewer.say("resume")
        viewer.hear(r"command: #3 resume by ada: applied")
        viewer.hear(r"obeyed: try a wider tile, and 'quotes' too")
        viewer.say("rollback v2")
        viewer.hear(r"head: rollback: head v4 to v2")
        viewer.say("undo")
        viewer.hear(r"head: undo: head v2 to v4")
        viewer.say("stop")
        out, err = process.communicate(timeout=60)
    assert (process.returncode, err) == (0, "")
    assert "finished" in out
    assert [verb for verb, state, person in commands_of(living) if (state, person) == ("applied", "ada")] == [
        "pause", "direct", "resume", "rollback", "undo", "stop",
    ]  # fmt: skip


def test_looking_help_mistakes_and_leaving(avo, living):
    with avo.popen("attach", "alive", "--plain", stdin=subprocess.PIPE) as process:
        viewer = of(process)
        viewer.hear("type help")
        viewer.say("help")
        viewer.hear("steer: pause")
        viewer.say("status")
        viewer.hear("incumbent  v4")
        viewer.say("show v3")
        viewer.hear("parent     v2")
        for line, answer in (
            ("dance", r"refused: 'dance' is not known here; help says"),
            ("rollback v77", r"refused: run alive has no version v77"),
            ("rollback", r"refused: .*vN"),
            ("direct", r"refused: the direction is empty"),
            ("direct -", r"refused: say the direction"),
            ("direct " + "x" * 70_000, r"refused: the direction is longer than 64,000 characters"),
            ("limits", r"refused: name a limit"),
        ):
            viewer.say(line)
            viewer.hear(answer)
        viewer.say("quit")
        out, err = process.communicate(timeout=30)
    assert (process.returncode, err) == (0, "")
    assert "run alive goes on" in out
    assert "\x1b" not in out
    assert commands_of(living) == []
    assert avo("status", "alive", "--json").json["state"] == "running"


def test_a_folder_that_vanishes_is_said_and_what_was_written_meanwhile_is_told_when_it_is_back(avo, living):
    elsewhere, taken = living.path.with_name("elsewhere"), living.path.with_name("taken")
    with avo.popen("attach", "alive", "--plain", stdin=subprocess.PIPE) as process:
        viewer = of(process)
        viewer.hear("new version v4")
        viewer.say("pause")
        viewer.hear("applied")
        with Reader(living.journal) as reader:
            engine = reader.engine().pid
        os.kill(engine, signal.SIGSTOP)  # it would end once it saw that its folder is another one
        shutil.copytree(living.path, elsewhere)
        living.path.rename(taken)
        viewer.hear("the run's folder is gone; waiting")
        viewer.say("versions")
        viewer.hear("refused: ")
        with Journal.open(RunFolder(elsewhere).journal) as journal:
            journal.append(ev.AlertRaised(7, "warning", "x", "raised while it was away", ""))
        elsewhere.rename(living.path)
        viewer.hear("the run's folder is back")
        viewer.hear("raised while it was away")
        viewer.say("quit")
        _, err = process.communicate(timeout=30)
    assert (process.returncode, err) == (0, "")
    shutil.rmtree(living.path)
    taken.rename(living.path)
    os.kill(engine, signal.SIGCONT)


def test_who_only_looks_cannot_steer(avo, living):
    with avo.popen("attach", "alive", "--plain", "--readonly", stdin=subprocess.PIPE) as process:
        viewer = of(process)
        viewer.hear("type help")
        viewer.say("pause")
        viewer.hear("refused: this watcher only looks")
        viewer.say("versions")
        viewer.hear("withdrawn|improved")
        viewer.say("quit")
        process.communicate(timeout=30)
    assert commands_of(living) == []


def test_the_end_of_input_is_no_end_of_the_watch(avo):
    said = avo(*words(avo, "piped", versions=3), "--plain", stdin="status\n")
    assert (said.code, said.err) == (0, "")
    assert "incumbent" in said.out
    assert "new version v3" in said.out
    assert said.out.rstrip().endswith(f"lies in {avo.runs / 'piped'}")


def test_a_dumb_terminal_can_steer(avo, living):
    pid, master = pty.fork()
    if pid == 0:
        os.environ.update({**avo.env, "TERM": "dumb"})
        os.execv(sys.executable, [sys.executable, "-m", "avo_tui.cli", "attach", "alive"])
    viewer = Viewer(master, master)
    viewer.hear("TERM=dumb")
    viewer.hear("type help")
    viewer.say("pause")
    viewer.hear("state: paused")
    viewer.say("quit")
    viewer.hear("goes on")
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    os.close(master)
    assert viewer.text.count("TERM=dumb") == 1
    assert "\x1b" not in viewer.text
    assert versions_of(living) == 5
