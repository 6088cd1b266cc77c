"""The lineage on real git: what is committed stays, whatever the person's settings, the workspace or a crash do."""

from __future__ import annotations

import os
import signal
import stat
import subprocess
import sys
import textwrap
import time
from collections.abc import Mapping
from pathlib import Path

import pytest

from engine.lineage import FileChange, Lineage
from engine.record.errors import LineageError
from engine.record.scores import Score

SCORE = Score("mha_cpu", True, "ok", "", "test", 1.0, geomean_tflops=0.125)
SOURCES = ({"attention.cpp": b"int tile = 16;\nint same;\n"}, {"attention.cpp": b"int tile = 32;\nint same;\n"})


@pytest.fixture
def lineage(tmp_path: Path) -> Lineage:
    return Lineage.create(tmp_path / "lineage")


def add(lineage: Lineage, files: Mapping[str, bytes], parent: int | None = None, **trailers: str) -> int:
    """Commit one more version; returns its number."""
    number = lineage.next_version()
    lineage.commit(files, version=number, parent=parent, score=SCORE, message=f"step {number}", trailers=trailers)
    return number


def git(lineage: Lineage, *arguments: str) -> str:
    """What a person sees who looks with git."""
    command = ["git", "-C", str(lineage.path), *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


def test_a_version_comes_back_with_its_sources_score_and_trailers(lineage: Lineage):
    files = {"attention.cpp": b"\x00\xff raw \r\n", "tile/sizes.h": "größer".encode()}
    add(lineage, files, Direction="online-softmax", Attempt="7")
    [version] = lineage.versions()
    assert lineage.files(0) == files
    assert (version.version, version.parent, version.message, version.score) == (0, None, "step 0", SCORE)
    facts = {
        "Version": "v0",
        "Parent": "none",
        "Geomean": "0.125 TFLOPS",
        "Direction": "online-softmax",
        "Attempt": "7",
    }
    assert version.trailers == facts
    assert lineage.score(0) == SCORE
    assert abs(version.at - time.time()) < 60


def test_the_history_is_one_that_git_reads_and_finds_whole(lineage: Lineage):
    add(lineage, SOURCES[0])
    add(lineage, SOURCES[1], parent=0)
    assert git(lineage, "log", "--format=%an %s", "main") == "avo step 1\navo step 0"
    assert git(lineage, "rev-parse", "main") == git(lineage, "rev-parse", "refs/avo/v1") == lineage.versions()[1].commit
    assert git(lineage, "log", "-1", "--format=%(trailers:key=Parent,valueonly)", "main") == "v0"
    assert git(lineage, "fsck", "--strict", "--no-dangling") == ""


def test_a_rollback_moves_the_head_and_loses_nothing(lineage: Lineage):
    for parent in (None, 0, 1):
        add(lineage, {"a.cpp": f"int v{parent};".encode()}, parent)
    commits = [v.commit for v in lineage.versions()]
    lineage.move_head(0)
    assert lineage.head() == 0
    branch = add(lineage, {"a.cpp": b"int other;"}, parent=0)
    assert (branch, lineage.head()) == (3, 3)
    assert [v.commit for v in lineage.versions()][:3] == commits
    assert lineage.versions()[3].parent == 0
    lineage.move_head(2)
    assert lineage.files(2) == {"a.cpp": b"int v1;"}


def test_a_diff_is_unified_and_without_the_score(lineage: Lineage):
    add(lineage, SOURCES[0])
    add(lineage, {**SOURCES[1], "tile.h": b"new\n"}, parent=0)
    diff = lineage.diff(0, 1)
    assert "-int tile = 16;\n+int tile = 32;\n" in diff
    assert "score.json" not in diff
    assert lineage.diffstat(0, 1) == (FileChange("attention.cpp", 1, 1), FileChange("tile.h", 1, 0))
    assert lineage.diff(1, 1) == ""


def test_sources_that_are_not_committed_can_be_compared_and_leave_no_version(lineage: Lineage):
    add(lineage, SOURCES[0])
    assert "+int tile = 32;" in lineage.diff_files(0, SOURCES[1])
    assert "+int tile = 32;" in lineage.diff_files(None, SOURCES[1])
    assert lineage.diff_files(0, SOURCES[0]) == ""
    assert len(lineage.versions()) == 1


def test_the_diff_of_an_attempt_leaves_nothing_in_the_repository(tmp_path: Path) -> None:
    lineage = Lineage.create(tmp_path / 'a "quoted": place' / "lineage")
    add(lineage, SOURCES[0])
    before = git(lineage, "count-objects")
    assert "+int tile = 32;" in lineage.diff_files(0, SOURCES[1])
    assert lineage.diff_files(None, {"new.cpp": b"x\n"}).startswith("diff --git a/new.cpp b/new.cpp")
    assert git(lineage, "count-objects") == before
    assert git(lineage, "fsck", "--full") == ""


def test_no_attributes_file_of_a_candidate_hides_a_change(lineage: Lineage):
    hiding = {".gitattributes": b"* -diff binary\n*.cpp filter=evil diff=evil\n"}
    add(lineage, {**SOURCES[0], **hiding})
    add(lineage, {**SOURCES[1], **hiding}, parent=0)
    assert "+int tile = 32;" in lineage.diff(0, 1)
    assert lineage.files(1)["attention.cpp"] == SOURCES[1]["attention.cpp"]


def test_export_writes_the_sources_and_only_into_an_empty_place(lineage: Lineage, tmp_path: Path):
    add(lineage, {**SOURCES[0], "sub/x.h": b"x"})
    written = lineage.export(0, tmp_path / "out")
    assert [p.relative_to(tmp_path / "out").as_posix() for p in written] == ["attention.cpp", "sub/x.h"]
    assert (tmp_path / "out" / "attention.cpp").read_bytes() == SOURCES[0]["attention.cpp"]
    with pytest.raises(LineageError, match="is not empty"):
        lineage.export(0, tmp_path / "out")


@pytest.mark.parametrize(
    "name", ["../a.cpp", "/etc/a.cpp", ".git/config", "a/.GIT/hooks/x", "a\nb.cpp", "score.json", "a//b", ""]
)
def test_a_path_that_leaves_the_sources_is_refused(lineage: Lineage, name: str):
    with pytest.raises(LineageError, match="cannot be the path of a source file"):
        add(lineage, {name: b"x"})
    assert lineage.versions() == ()


def test_a_version_number_is_never_used_twice(lineage: Lineage):
    add(lineage, SOURCES[0])
    with pytest.raises(LineageError, match="v0 exists already"):
        lineage.commit(SOURCES[1], version=0, parent=None, score=SCORE, message="again")
    assert lineage.files(0) == SOURCES[0]


def test_an_unknown_version_is_named(lineage: Lineage):
    with pytest.raises(LineageError, match="has no v7; 'avo versions' lists those there are"):
        lineage.files(7)


def test_a_message_that_looks_like_trailers_does_not_forge_them(lineage: Lineage):
    lineage.commit(SOURCES[0], version=0, parent=None, score=SCORE, message="try\n\nVersion: v99\nParent: v98")
    [version] = lineage.versions()
    assert (version.version, version.parent, version.trailers["Version"]) == (0, None, "v0")


# --- what the person's machine brings along ------------------------------------------------


@pytest.fixture
def hostile_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home whose git configuration runs programs, signs, converts line ends and names another encoding."""
    home = tmp_path / "home"
    (home / "hooks").mkdir(parents=True)
    trap = home / "trap"
    trap.write_text(f"#!/bin/sh\ntouch {home}/sprung\nexit 1\n")
    trap.chmod(trap.stat().st_mode | stat.S_IXUSR)
    for hook in ("reference-transaction", "post-commit", "pre-commit", "update"):
        (home / "hooks" / hook).symlink_to(trap)
    (home / ".gitconfig").write_text(
        f"[core]\nhooksPath = {home}/hooks\nautocrlf = true\nfsmonitor = {trap}\neditor = {trap}\npager = {trap}\n"
        f"attributesFile = {home}/attributes\n[commit]\ngpgsign = true\n[gpg]\nprogram = {trap}\n"
        f'[i18n]\ncommitEncoding = latin1\n[diff]\nexternal = {trap}\n[filter "evil"]\nclean = {trap}\nsmudge = {trap}\n'
        f'[diff "evil"]\ntextconv = {trap}\n[init]\ntemplateDir = {home}\ndefaultBranch = other\n'
    )
    (home / "attributes").write_text("* filter=evil diff=evil text eol=crlf\n")
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(home))
    return home


def test_the_persons_git_settings_and_hooks_do_not_apply(tmp_path: Path, hostile_home: Path):
    lineage = Lineage.create(tmp_path / "lineage")
    lineage.commit({"a.cpp": b"one\ntwo\n"}, version=0, parent=None, score=SCORE, message="größer")
    lineage.commit({"a.cpp": b"one\nTWO\n"}, version=1, parent=0, score=SCORE, message="next")
    lineage.move_head(0)
    assert "+TWO" in lineage.diff(0, 1)
    assert lineage.files(0) == {"a.cpp": b"one\ntwo\n"}
    assert (lineage.head(), lineage.versions()[0].message) == (0, "größer")
    assert not (hostile_home / "sprung").exists()
    assert not (lineage.path / "hooks").exists()


def test_git_variables_of_the_environment_do_not_lead_elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    elsewhere = tmp_path / "elsewhere"
    for name in ("GIT_DIR", "GIT_INDEX_FILE", "GIT_WORK_TREE", "GIT_COMMON_DIR", "GIT_OBJECT_DIRECTORY"):
        monkeypatch.setenv(name, str(elsewhere))
    monkeypatch.setenv("GIT_AUTHOR_DATE", "not a date")
    lineage = Lineage.create(tmp_path / "lineage")
    add(lineage, SOURCES[0])
    assert lineage.files(0) == SOURCES[0]
    assert not elsewhere.exists()


# --- crashes and damage -----------------------------------------------------------------------


def test_reconciling_finds_what_the_journal_misses_and_moves_the_head_back(lineage: Lineage):
    for parent in (None, 0, 1):
        add(lineage, {"a.cpp": f"int v{parent};".encode()}, parent)
    commits = {v.version: v.commit for v in lineage.versions()}
    found = lineage.reconcile({0: commits[0], 1: commits[1]}, 1)
    assert [c.version for c in found.unjournaled] == [2]
    assert (found.missing, found.head_moved, lineage.head()) == ((), True, 1)
    assert lineage.next_version() == 3


def test_reconciling_names_versions_that_git_does_not_have(lineage: Lineage):
    add(lineage, SOURCES[0])
    found = lineage.reconcile({0: lineage.versions()[0].commit, 1: "f" * 40}, 0)
    assert (found.missing, found.unjournaled, found.head_moved) == ((1,), (), False)


def test_a_version_that_is_not_the_journals_is_an_error(lineage: Lineage):
    add(lineage, SOURCES[0])
    with pytest.raises(LineageError, match=r"v0 is .* the journal says ffffffffff"):
        lineage.reconcile({0: "f" * 40}, 0)


COMMITTER = textwrap.dedent("""
    import sys
    from pathlib import Path
    from engine.lineage import Lineage
    from engine.record.scores import Score
    lineage = Lineage(Path(sys.argv[1]))
    score = Score("mha_cpu", True, "ok", "", "test", 1.0, geomean_tflops=1.0)
    while True:
        number = lineage.next_version()
        lineage.commit({"a.cpp": b"int v%d;" % number}, version=number, parent=number - 1 if number else None,
                       score=score, message="step")
        print(number, flush=True)
""")


def test_a_killed_engine_leaves_whole_versions_only(lineage: Lineage):
    said = []
    for moment in (0.0, 0.004, 0.008, 0.012):
        command = [sys.executable, "-c", COMMITTER, str(lineage.path)]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, start_new_session=True) as child:
            assert child.stdout is not None
            said.append(int(child.stdout.readline()))
            end = time.monotonic() + moment
            while time.monotonic() < end:
                pass
            os.killpg(child.pid, signal.SIGKILL)
            said += [int(line) for line in child.stdout.read().split()]
        lineage.reconcile({}, None)
    versions = lineage.versions()
    assert set(said) <= {v.version for v in versions}
    assert all(lineage.files(v.version) == {"a.cpp": b"int v%d;" % v.version} for v in versions)
    assert git(lineage, "fsck", "--strict", "--no-dangling") == ""


def test_a_lock_that_a_killed_engine_left_does_not_stop_the_next(lineage: Lineage):
    add(lineage, SOURCES[0])
    (lineage.path / "refs" / "heads" / "main.lock").touch()
    (lineage.path / "refs" / "avo" / "v1.lock").touch()
    lineage.reconcile({0: lineage.versions()[0].commit}, 0)
    assert add(lineage, SOURCES[1], parent=0) == 1


def test_packing_by_a_person_changes_nothing(lineage: Lineage):
    add(lineage, SOURCES[0])
    add(lineage, SOURCES[1], parent=0)
    git(lineage, "gc", "--quiet", "--prune=now")
    git(lineage, "pack-refs", "--all")
    assert lineage.files(1) == SOURCES[1]
    assert add(lineage, {"a.cpp": b"x"}, parent=1) == 2


@pytest.mark.parametrize("what", ["object", "ref", "head"])
def test_damage_is_one_line_that_names_the_repository(lineage: Lineage, what: str):
    add(lineage, SOURCES[0])
    if what == "object":
        for path in lineage.path.glob("objects/??/*"):
            path.chmod(0o644)
            path.write_bytes(b"rubbish")
    elif what == "ref":
        (lineage.path / "refs" / "avo" / "v0").write_text("rubbish\n")
    else:
        (lineage.path / "HEAD").unlink()
    with pytest.raises(LineageError) as caught:
        lineage.files(0)
    assert str(lineage.path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_folder_without_a_lineage_is_named(tmp_path: Path):
    with pytest.raises(LineageError, match="is not a lineage"):
        Lineage(tmp_path).versions()


def test_a_machine_without_git_is_told_what_to_install(tmp_path: Path):
    code = (
        "import sys; from pathlib import Path; from engine.lineage import Lineage; from engine.record.errors import *\n"
        "try: Lineage.create(Path(sys.argv[1]))\nexcept LineageError as e: print(e)"
    )
    command = [sys.executable, "-c", code, str(tmp_path / "l")]
    done = subprocess.run(command, env={"PATH": str(tmp_path)}, capture_output=True, text=True)
    assert done.stdout == "git is not installed; install it (Debian and Ubuntu: apt install git)\n", done.stderr


def test_importing_the_lineage_does_not_import_gitpython():
    code = "import sys, engine.lineage; print('git' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout == "False\n"
