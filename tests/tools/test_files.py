"""read, write, edit and find: they do what they say, and no path and no link leads out of the workspace."""

from __future__ import annotations

import gzip
import os
import socket
import threading
from pathlib import Path

import pytest

from engine.record.errors import Refused
from engine.tools import confined
from tests.tools.conftest import Bench

OUTSIDE = ("../journal.db", "/etc/passwd", "a/../../journal.db", "..", "./../run/journal.db")


async def test_a_file_is_written_read_and_replaced(bench: Bench):
    made = await bench.call("write", path="sub/kernel.cpp", content="one\ntwo\n")
    assert made.text == "created sub/kernel.cpp (2 lines)"
    assert (await bench.call("read", path="sub/kernel.cpp")).text == "    1  one\n    2  two"
    assert (await bench.call("write", path="sub/kernel.cpp", content="x")).text == "replaced sub/kernel.cpp (1 lines)"
    assert (bench.workspace / "sub" / "kernel.cpp").read_text() == "x"
    assert sorted(p.name for p in (bench.workspace / "sub").iterdir()) == ["kernel.cpp"]


async def test_a_long_file_is_read_piece_by_piece(bench: Bench):
    (bench.workspace / "long.txt").write_text("".join(f"line {n}\n" for n in range(1, 1001)))
    first = await bench.call("read", path="long.txt")
    assert first.text.endswith("(600 more lines; go on with start_line = 401)")
    last = await bench.call("read", path="long.txt", start_line=990)
    assert last.text.splitlines()[-1] == " 1000  line 1000"
    assert (await bench.call("read", path="long.txt", start_line=5, end_line=6)).text.split() == ["5", "line", "5", "6", "line", "6",
        "(994", "more", "lines;", "go", "on", "with", "start_line", "=", "7)"]  # fmt: skip
    assert "has 1000 lines" in (await bench.call("read", path="long.txt", start_line=2000)).text


async def test_an_edit_must_be_unambiguous(bench: Bench):
    (bench.workspace / "a.cpp").write_text("int a = 1;\nint b = 1;\n\tint c;\n")
    assert "occurs 2 times" in (await bench.call("edit", path="a.cpp", old_string="= 1", new_string="= 2")).text
    done = await bench.call("edit", path="a.cpp", old_string="a = 1", new_string="a = 7")
    assert done.ok and "    1  int a = 7;" in done.text
    all_of = await bench.call("edit", path="a.cpp", old_string="int", new_string="long", replace_all=True)
    assert all_of.data["changes"] == 3
    assert (bench.workspace / "a.cpp").read_text() == "long a = 7;\nlong b = 1;\n\tlong c;\n"


async def test_an_edit_that_does_not_fit_says_why(bench: Bench):
    (bench.workspace / "a.cpp").write_text("first\n\tint  c;\n")
    near = await bench.call("edit", path="a.cpp", old_string="int c;", new_string="x")
    assert "line 2 has the same words with other spaces" in near.text
    assert "`read` the file first" in (await bench.call("edit", path="a.cpp", old_string="zz", new_string="x")).text
    assert "are the same" in (await bench.call("edit", path="a.cpp", old_string="int", new_string="int")).text
    assert "is empty" in (await bench.call("edit", path="a.cpp", old_string="", new_string="x")).text


@pytest.mark.parametrize("path", OUTSIDE)
async def test_no_path_leaves_the_workspace(bench: Bench, path: str):
    for tool, more in (("read", {}), ("write", {"content": "x"}), ("edit", {"old_string": "a", "new_string": "b"})):
        answer = await bench.call(tool, path=path, **more)
        assert not answer.ok
        assert "outside the workspace" in answer.text
    assert not (await bench.call("find", pattern="root", path=path)).ok


async def test_no_link_leads_out_of_the_workspace(bench: Bench, tmp_path: Path):
    secret = tmp_path / "secret.txt"
    secret.write_text("secret")
    (bench.workspace / "file").symlink_to(secret)
    (bench.workspace / "folder").symlink_to(tmp_path)
    for path in ("file", "folder/secret.txt"):
        for tool, more in (("read", {}), ("write", {"content": "x"}), ("edit", {"old_string": "s", "new_string": "b"})):
            answer = await bench.call(tool, path=path, **more)
            assert not answer.ok, (tool, path)
            assert "link" in answer.text or "not a plain file" in answer.text
    assert secret.read_text() == "secret"
    assert (await bench.call("find", pattern="secret")).data["matches"] == 0
    assert "secret" not in (await bench.call("find", pattern="*", mode="files")).text
    assert not (await bench.call("find", pattern="secret", path="folder")).ok


def test_a_link_swapped_in_meanwhile_is_not_followed(tmp_path: Path):
    root, outside = tmp_path / "workspace", tmp_path / "outside"
    root.mkdir()
    outside.mkdir()
    (outside / "f").write_text("secret")
    stop = threading.Event()

    def swap() -> None:
        while not stop.is_set():
            (root / "d").mkdir()
            (root / "d" / "f").write_text("mine")
            (root / "d").rename(root / "old")
            (root / "d").symlink_to(outside)
            (root / "d").unlink()
            (root / "old" / "f").unlink()
            (root / "old").rmdir()

    swapper = threading.Thread(target=swap)
    swapper.start()
    seen = set()
    try:
        for _ in range(3000):
            try:
                seen.add(confined.read(root, "d/f"))
            except Refused:
                seen.add(b"refused")
    finally:
        stop.set()
        swapper.join()
    assert b"secret" not in seen
    assert b"refused" in seen


async def test_special_files_neither_hang_nor_mislead(bench: Bench, monkeypatch: pytest.MonkeyPatch):
    os.mkfifo(bench.workspace / "pipe")
    (bench.workspace / "dir").mkdir()
    with socket.socket(socket.AF_UNIX) as server:
        monkeypatch.chdir(bench.workspace)
        server.bind("sock")
        for path in ("pipe", "dir", "sock"):
            for tool, more in (("read", {}), ("write", {"content": "x"})):
                assert not (await bench.call(tool, path=path, **more)).ok, (tool, path)
    before = len(os.listdir("/proc/self/fd"))  # noqa: PTH208
    for _ in range(20):
        assert (await bench.call("read", path="dir")).text == "dir is not a plain file but a folder"
    assert len(os.listdir("/proc/self/fd")) < before + 10  # noqa: PTH208


async def test_what_is_no_text_is_said(bench: Bench):
    (bench.workspace / "binary").write_bytes(b"\x7fELF\0\0")
    (bench.workspace / "latin").write_bytes("größer".encode("latin1"))
    (bench.workspace / "huge").write_bytes(b"x" * (confined.READ_LIMIT + 1))
    assert "is not text" in (await bench.call("read", path="binary")).text
    assert "is not UTF-8 text (byte 2)" in (await bench.call("read", path="latin")).text
    assert "the limit is 4,194,304" in (await bench.call("read", path="huge")).text
    assert "No such file" in (await bench.call("read", path="nothing")).text


async def test_find_gives_lines_and_names(bench: Bench):
    (bench.workspace / "a.cpp").write_text("int tile = 16;\nfloat TILE;\n")
    (bench.workspace / "notes.md").write_text("tile\n")
    (bench.workspace / ".hidden").write_text("tile\n")
    assert (await bench.call("find", pattern=r"tile\b")).text.splitlines() == [
        "a.cpp:1: int tile = 16;",
        "notes.md:1: tile",
    ]
    assert (await bench.call("find", pattern="tile", glob="*.cpp", ignore_case=True)).data["matches"] == 2
    assert (await bench.call("find", pattern="*.cpp", mode="files")).text == "a.cpp"
    assert (await bench.call("find", pattern="tile", path="notes.md")).text == "notes.md:1: tile"
    assert (await bench.call("find", pattern="nowhere")).text == "nothing matches 'nowhere'"
    assert "more than 1;" in (await bench.call("find", pattern=".", max_results=1)).text


async def test_a_pattern_that_takes_for_ever_does_not_stop_the_engine(bench: Bench, monkeypatch: pytest.MonkeyPatch):
    from engine.tools import files

    monkeypatch.setattr(files, "FIND_TIMEOUT_S", 0.5)
    (bench.workspace / "a.txt").write_text("a" * 60 + "b\n")
    slow = await bench.call("find", pattern="(a+)+$")
    assert not slow.ok
    assert "use a simpler one" in slow.text
    assert "not a regular expression" in (await bench.call("find", pattern="(")).text


async def test_logs_and_pages_can_be_read_and_not_written(bench: Bench):
    (bench.folder.artifacts / "build.log").write_text("warning: spill\n")
    assert "warning: spill" in (await bench.call("read", path="artifacts/build.log")).text
    assert (
        await bench.call("find", pattern="spill", path="artifacts/")
    ).text == "artifacts/build.log:1: warning: spill"
    for path in ("artifacts/build.log", "knowledge/page.md"):
        assert "is read-only" in (await bench.call("write", path=path, content="x")).text
    assert not (await bench.call("read", path="artifacts/../journal.db")).ok


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")
async def test_what_root_writes_belongs_to_the_workspaces_owner(bench: Bench):
    os.chown(bench.workspace, 12345, 23456)
    await bench.call("write", path="new/a.cpp", content="x")
    for path in (bench.workspace / "new", bench.workspace / "new" / "a.cpp"):
        assert (path.stat().st_uid, path.stat().st_gid) == (12345, 23456)


async def test_an_old_log_that_was_compressed_reads_and_is_found_as_before(bench: Bench) -> None:
    (bench.folder.artifacts / "build.log.gz").write_bytes(gzip.compress(b"warning: spill\n"))
    for name in ("artifacts/build.log", "artifacts/build.log.gz"):
        assert "warning: spill" in (await bench.call("read", path=name)).text
    found = await bench.call("find", pattern="spill", path="artifacts/")
    assert found.text == "artifacts/build.log.gz:1: warning: spill"
    (bench.folder.artifacts / "bad.log.gz").write_bytes(b"not compressed")
    assert "is damaged" in (await bench.call("read", path="artifacts/bad.log")).text
    assert not (await bench.call("read", path="artifacts/../journal.db")).ok
