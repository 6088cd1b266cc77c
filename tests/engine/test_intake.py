"""What is scored is a copy; what is in the way is refused, not followed."""

import os

import pytest

from engine import intake
from engine.record.errors import Refused
from engine.scorer import tree


@pytest.fixture
def workspace(tmp_path):
    folder = tmp_path / "workspace"
    folder.mkdir()
    (folder / "attention.cpp").write_text("int main;\n")
    return folder


def test_sources_are_taken_and_everything_else_is_left(workspace, tmp_path):
    for name in ("flags.txt", "tile.h", "notes.md", ".hidden.cpp"):
        (workspace / name).write_text("x")
    (workspace / "build").mkdir()
    candidate = intake.take(workspace, tmp_path / "candidates")
    assert sorted(candidate.files) == ["attention.cpp", "flags.txt", "tile.h"]
    assert sorted(p.name for p in candidate.folder.iterdir()) == sorted(candidate.files)


def test_the_copy_does_not_change_with_the_workspace_and_is_kept_once(workspace, tmp_path):
    first = intake.take(workspace, tmp_path / "candidates")
    again = intake.take(workspace, tmp_path / "candidates")
    (workspace / "attention.cpp").write_text("int other;\n")
    assert first.folder == again.folder
    assert (first.folder / "attention.cpp").read_text() == "int main;\n"
    assert intake.take(workspace, tmp_path / "candidates").source_hash != first.source_hash
    assert len(list((tmp_path / "candidates").iterdir())) == 2


def test_links_pipes_giants_and_emptiness_are_refused(workspace, tmp_path):
    (tmp_path / "secret.h").write_text("secret")
    (workspace / "link.h").symlink_to(tmp_path / "secret.h")
    with pytest.raises(Refused, match=r"link\.h cannot be read"):
        intake.read_sources(workspace)
    (workspace / "link.h").unlink()
    os.mkfifo(workspace / "pipe.h")
    with pytest.raises(Refused, match=r"pipe\.h is not a regular file"):
        intake.read_sources(workspace)
    (workspace / "pipe.h").unlink()
    (workspace / "big.h").write_bytes(b"x" * (intake.BYTES_LIMIT + 1))
    with pytest.raises(Refused, match=r"big\.h is over"):
        intake.read_sources(workspace)
    (tmp_path / "empty").mkdir()
    with pytest.raises(Refused, match="holds no sources"):
        intake.read_sources(tmp_path / "empty")
    with pytest.raises(Refused, match="No such file"):
        intake.read_sources(tmp_path / "gone")


def test_replacing_makes_the_sources_exact_and_spares_the_rest(workspace, tmp_path):
    outside = tmp_path / "outside.cpp"
    outside.write_text("mine")
    (workspace / "old.h").write_text("x")
    (workspace / "notes.md").write_text("keep")
    (workspace / "attention.cpp").unlink()
    (workspace / "attention.cpp").symlink_to(outside)
    (workspace / "dir.h").mkdir()
    intake.replace({"attention.cpp": b"new\n", "dir.h": b"h\n"}, workspace)
    assert sorted(p.name for p in workspace.iterdir()) == ["attention.cpp", "dir.h", "notes.md"]
    assert (workspace / "attention.cpp").read_bytes() == b"new\n"
    assert not (workspace / "attention.cpp").is_symlink()
    assert outside.read_text() == "mine"


@pytest.mark.parametrize(
    "name", ["../other", "/etc", "variants/../../other", "link", "link/inside", "", "absent", "file.cpp"]
)
def test_a_variant_lies_inside_the_workspace_and_behind_no_link(tmp_path, name):
    workspace, other = tmp_path / "workspace", tmp_path / "other"
    for folder in (workspace / "variants" / "a", other / "inside"):
        folder.mkdir(parents=True)
    (workspace / "link").symlink_to(other)
    (workspace / "file.cpp").write_text("")
    assert intake.inside(workspace, "variants/a") == workspace / "variants" / "a"
    with pytest.raises(Refused) as caught:
        intake.inside(workspace, name)
    assert "\n" not in str(caught.value)


def test_names_that_no_source_can_have_and_folders_named_like_one_are_refused_and_do_not_last(workspace):
    (workspace / "attention.cpp").unlink()
    (workspace / "attention.cpp").mkdir()
    with pytest.raises(Refused, match=r"attention.cpp is not a regular file"):
        intake.read_sources(workspace)
    for name in (b"\xff.cpp", b"a\nb.cpp", b"\x1b]0;x.cpp"):
        path = os.path.join(os.fsencode(workspace), name)  # noqa: PTH118 bytes
        with open(path, "wb"):  # noqa: PTH123
            pass
        with pytest.raises(Refused, match=r"'.*\.cpp' is no name of a source file") as refused:
            intake.read_sources(workspace)
        assert str(refused.value).isprintable()
        intake.replace({"attention.cpp": b"new\n"}, workspace)
        assert intake.read_sources(workspace) == {"attention.cpp": b"new\n"}


def test_folders_deeper_than_the_stack_stop_neither_a_restore_nor_a_start(workspace, tmp_path):
    outside = tmp_path / "outside.txt"
    outside.write_text("mine")
    for name in ("tile.h", "notes"):
        nest(workspace / name, 1500)
        (workspace / name / "d" / "d" / "link").symlink_to(outside)
    intake.sweep(workspace)
    intake.replace({"attention.cpp": b"new\n"}, workspace)
    assert sorted(p.name for p in workspace.iterdir()) == ["attention.cpp", "notes"]
    tree.remove(workspace / "notes")
    assert sorted(p.name for p in workspace.iterdir()) == ["attention.cpp"]
    assert outside.read_text() == "mine"


def nest(path, depth):
    path.mkdir()
    at = os.open(path, os.O_RDONLY)
    for _ in range(depth):
        os.mkdir("d", dir_fd=at)
        inner = os.open("d", os.O_RDONLY, dir_fd=at)
        os.close(at)
        at = inner
    os.close(at)
