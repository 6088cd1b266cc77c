"""`avo replay`: shipped recordings, archives and runs, played again in lines and in the room; nothing is changed."""

import hashlib
import os
import pty
import re
import select
import signal
import sys
import tempfile
import time
from pathlib import Path

import pytest
from tiny import until

from avo_tui.commands.look import every
from avo_tui.commands.replay import shipped
from avo_tui.model.moment import moment
from avo_tui.summary import Summaries
from engine.archive import unpack
from engine.record.run import RunFolder


def fingerprint(folder):
    """Every file of a folder with its hash; what SQLite keeps beside a journal for its readers is no change."""
    files = (p for p in Path(folder).rglob("*") if p.is_file() and not p.name.endswith(("-wal", "-shm")))
    return {p.name: hashlib.sha256(p.read_bytes()).hexdigest() for p in files}


def left_over(scratch):
    return [p.name for p in Path(scratch).iterdir() if p.name.startswith("avo-replay")]


def test_the_recorded_run_plays_without_a_compiler_or_any_run(avo, tmp_path):
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "git").symlink_to("/usr/bin/git")
    (tmp_path / "scratch").mkdir()
    only = {"PATH": str(tmp_path / "bin"), "TMPDIR": str(tmp_path / "scratch")}
    for words in ((), ("mha_cuda/h200-1122",)):
        said = avo("replay", *words, "--speed", "max", env=only)
        assert (said.code, said.err) == (0, "")
        assert "* v15      764.4 TFLOPS" in said.out
        assert re.search(r"best v15: \S+ the seed, 1\.078x fa4, 1\.174x cudnn", said.out)
        assert "GFLOPS" not in said.out
    assert left_over(tmp_path / "scratch") == []
    assert not avo.runs.exists()


def test_every_recorded_run_plays_by_the_name_of_its_problem_and_its_own(avo):
    names = set(shipped())
    assert names >= {"mha_cuda/h200-1122", "gqa_cuda/h200-1122", "gqa_cuda/h200-1122-from-v15"}
    for name in sorted(names):
        said = avo("replay", name, "--speed", "max")
        assert said.code == 0, said.err
        assert said.out.startswith(f"replay of run {name.partition('/')[0]}-")
    assert avo("replay", "h200-1122-from-v15", "--speed", "max").code == 0  # one problem only has it
    avo("replay", "h200-1122").refused(2, "say gqa_cuda/h200-1122 or mha_cuda/h200-1122")


def test_a_run_and_its_archive_play_alike_and_stay_as_they_are(past, tmp_path):
    archive = tmp_path / "climb.tar.gz"
    assert past("archive", "climb", "-o", str(archive)).code == 0
    before, runs = (fingerprint(past.runs / "climb"), fingerprint(tmp_path)), sorted(past.runs.iterdir())
    played = [past("replay", name, "--speed", "max").out for name in ("climb", str(archive))]
    assert played[0] == played[1]
    assert "* v4 " in played[0]
    assert "best v4" in played[0]
    assert (fingerprint(past.runs / "climb"), fingerprint(tmp_path)) == before
    assert sorted(past.runs.iterdir()) == runs


def test_the_speed_is_kept_and_long_waits_are_shortened(avo):
    began = time.monotonic()
    assert avo("replay", "--speed", "600").code == 0  # 719 s at 600 times their speed, and hours between its sittings
    assert 719 / 600 * 0.8 < time.monotonic() - began < 20


def test_a_moment_counts_what_was_worked_and_not_the_hours_between_two_sittings(tmp_path):
    folder = RunFolder(unpack(shipped()["mha_cuda/h200-1122"], tmp_path).path)
    with Summaries(folder) as summaries:
        now, reader = summaries.take(), summaries.reader
        sittings = [e for e in every(reader, 0) if e.kind == "run_started"]
        worked = [moment(reader, now, e.seq).elapsed_s for e in (*sittings, reader.tail(1)[0])]
    assert len(sittings) == 5
    assert worked[1:] == pytest.approx([288.3, 486.0, 509.7, 630.8, 718.8], abs=0.5)
    assert worked[-1] == pytest.approx(now.elapsed_s, rel=0.01)


def test_what_cannot_be_played_is_refused_in_one_line(avo, tmp_path):
    avo("replay", "ghost").refused(2, "no run 'ghost'", "mha_cuda/h200-1122")
    (tmp_path / "notes.txt").write_text("no archive")
    avo("replay", str(tmp_path / "notes.txt")).refused(1, "cannot be read as an archive")
    avo("replay", "--speed", "0").refused(2, "not a positive number")
    avo("replay", "--speed", "warp").refused(2, "not a positive number")


def test_leaving_lines_early_takes_the_laid_out_run_away(avo, tmp_path):
    (tmp_path / "scratch").mkdir()
    for number, code in ((signal.SIGINT, 130), (signal.SIGTERM, 143)):
        with avo.popen("replay", "--speed", "1", env={"TMPDIR": str(tmp_path / "scratch")}) as process:
            assert process.stdout.readline().startswith("replay of run mha_cuda-h200")
            assert left_over(tmp_path / "scratch")
            process.send_signal(number)
            said = process.communicate(timeout=30)
        assert process.returncode == code, said
        assert left_over(tmp_path / "scratch") == []


def test_in_a_terminal_it_plays_in_the_room_and_leaves_nothing(avo):
    with tempfile.TemporaryDirectory() as scratch:
        pid, master = pty.fork()
        if pid == 0:
            os.environ.update({**avo.env, "TMPDIR": scratch, "COLUMNS": "120", "LINES": "40"})
            os.execv(sys.executable, [sys.executable, "-m", "avo_tui.cli", "replay", "--speed", "30"])
        shown = bytearray()

        def show(*wanted):
            while select.select([master], [], [], 0.02)[0]:
                shown.extend(os.read(master, 65536))
            return all(word in shown for word in wanted)

        until(lambda: show(b"mha_cuda-h200", b"30"))
        assert left_over(scratch)
        until(lambda: show(b"full_32768"))  # the score table grows once the seed is scored
        assert b"v15" not in shown
        os.write(master, b"q")
        while True:
            try:
                if not os.read(master, 65536):
                    break
            except OSError:
                break
        os.close(master)
        assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
        assert left_over(scratch) == []
