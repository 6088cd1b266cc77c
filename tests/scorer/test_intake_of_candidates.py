"""What is hashed is what is built: regular files only, read once, whatever the folder does meanwhile."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from served import SMALL

from engine.scorer import intake
from engine.scorer.failure import CandidateFailed
from engine.scorer.problem import load

PROBLEM = load(SMALL)
SOURCE = 'extern "C" void attention_forward() {}\n'


def refusal(source: Path) -> str:
    with pytest.raises(CandidateFailed) as failed:
        intake.take(source, PROBLEM)
    assert failed.value.failure.stage == "build"
    assert "\n" not in failed.value.failure.reason
    return failed.value.failure.reason


def test_a_folder_and_a_single_file_are_taken(candidate):
    folder = candidate(SOURCE, part__h="// part\n", notes__md="not taken")
    taken = intake.take(folder, PROBLEM)
    assert sorted(taken.files) == ["attention.cpp", "part.h"]
    assert intake.take(folder / "attention.cpp", PROBLEM).files == {"attention.cpp": SOURCE.encode()}


def test_the_hash_names_the_content_and_nothing_else(candidate):
    folder = candidate(SOURCE)
    first = intake.take(folder, PROBLEM).hash
    os.utime(folder / "attention.cpp", (1, 1))
    assert intake.take(folder, PROBLEM).hash == first
    candidate(SOURCE + "// more\n")
    assert intake.take(folder, PROBLEM).hash != first


def test_links_pipes_and_folders_in_disguise_are_refused(candidate, tmp_path: Path):
    secret = tmp_path / "secret.cpp"
    secret.write_text("int secret;\n")
    folder = candidate(SOURCE)
    (folder / "link.cpp").symlink_to(secret)
    assert "is a link" in refusal(folder)
    (folder / "link.cpp").unlink()
    os.mkfifo(folder / "pipe.cpp")
    assert "not a regular file" in refusal(folder)
    (folder / "pipe.cpp").unlink()
    (folder / "folder.cpp").mkdir()
    assert "not a regular file" in refusal(folder)
    (tmp_path / "alias").symlink_to(folder)
    assert "links are not followed" in refusal(tmp_path / "alias")


def test_too_much_too_many_and_nothing_at_all_are_refused(candidate, tmp_path: Path):
    folder = candidate(SOURCE)
    (folder / "big.h").write_bytes(b"/" * (intake.MAX_BYTES + 1))
    assert "larger than 1024 KiB" in refusal(folder)
    (folder / "big.h").unlink()
    for i in range(intake.MAX_FILES):
        (folder / f"part{i}.h").touch()
    assert "at most 64" in refusal(folder)
    empty = tmp_path / "empty"
    empty.mkdir()
    assert "no source file" in refusal(empty)
    assert "No such file" in refusal(tmp_path / "missing")
    (tmp_path / "notes.md").write_text("words")
    assert "not a source file" in refusal(tmp_path / "notes.md")


@pytest.mark.parametrize("name", ["-o.cpp", "a b.cpp", "a\nb.cpp", "@x.cpp", "ü.cpp"])
def test_a_file_name_that_a_compiler_could_misread_is_refused(candidate, name: str):
    folder = candidate(SOURCE)
    (folder / name).write_text(SOURCE)
    assert "a file name is" in refusal(folder)


@pytest.mark.parametrize(
    "flag",
    ["-fplugin=./x.so", "-wrapper", "-B.", "@file", "-include", "/etc/passwd", "-o/tmp/x", "-specs=x", "-Wl,-e,x"],
)
def test_a_flag_that_is_not_on_the_list_is_refused(candidate, flag: str):
    assert "is not an allowed flag" in refusal(candidate(SOURCE, flags__txt=f"-O3 {flag}\n"))


def test_allowed_flags_are_taken_and_comments_are_not(candidate):
    folder = candidate(SOURCE, flags__txt="# faster\n-O3 -ffast-math  # and looser\n")
    assert intake.take(folder, PROBLEM).flags == ("-O3", "-ffast-math")
