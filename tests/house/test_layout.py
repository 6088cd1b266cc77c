"""The layout of the house, what each file must open with, and what must lie nowhere in it."""

import ast
import re
import subprocess
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
FOLDERS = {"avo_tui", "engine", "kernels", "knowledge", "tests"}
FILES = {
    "ARCHITECTURE.md", "CHANGELOG.md", "LICENSE", "Makefile", "README.md", "constraints.txt", "pyproject.toml",
}  # fmt: skip


def tracked() -> list[Path]:
    done = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=False)
    if done.returncode:
        pytest.skip("not a git checkout")
    return [ROOT / name for name in done.stdout.decode().split("\0") if name and (ROOT / name).is_file()]


def sources() -> list[Path]:
    return [p for p in tracked() if p.suffix == ".py" and p.relative_to(ROOT).parts[0] in ("avo_tui", "engine")]


def test_the_top_level_holds_the_rooms_and_nothing_else():
    tops = {p.relative_to(ROOT).parts for p in tracked()}
    folders = {parts[0] for parts in tops if len(parts) > 1 and not parts[0].startswith(".")}
    files = {parts[0] for parts in tops if len(parts) == 1 and not parts[0].startswith(".")}
    assert folders == FOLDERS
    assert files == FILES


def test_no_file_is_named_for_having_no_subject():
    vague = {"utils", "util", "helpers", "helper", "misc", "common", "manager", "managers"}
    assert not [p for p in tracked() if p.stem.lower() in vague]


def test_kernels_hold_no_package():
    assert not [p for p in tracked() if p.name == "__init__.py" and p.relative_to(ROOT).parts[0] == "kernels"]


@pytest.mark.parametrize("path", sources(), ids=lambda p: p.relative_to(ROOT).as_posix())
def test_a_module_and_its_public_names_say_what_they_are(path):
    tree = ast.parse(path.read_text("utf-8"))
    if not tree.body:
        return
    assert ast.get_docstring(tree), "a module opens with what it is"
    silent = [
        node.name
        for node in tree.body
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef)
        and not node.name.startswith("_")
        and not ast.get_docstring(node)
    ]
    assert not silent, f"without a docstring: {silent}"


def test_no_silenced_exception_and_no_promise_of_later_work():
    swallow = re.compile(r"except (Exception|BaseException)?( as \w+)?:\s*\n\s*pass\b")
    promise = re.compile(r"\b(TODO|FIXME|XXX|HACK)\b")
    for path in sources():
        text = path.read_text("utf-8")
        assert not swallow.search(text), path
        assert not promise.search(text), path


def test_no_machines_paths_and_no_registry_lie_in_the_tree():
    here = [re.escape(str(place)) for place in (ROOT, ROOT.parent / "shared") if len(place.parts) > 2]
    elsewhere = [
        r"/(?:home|Users)/[a-z]\w*/",
        r"/tmp/[\w.-]+/",  # a folder of somebody's own; a single file there may be a planted trace
        r"https?://[\w.-]+(?::\d+)?/(?:[\w.-]+/)*simple\b",  # a package index, by whatever host
        r"--(?:extra-)?index-ur[l]",
    ]
    paths = re.compile("|".join([*(rf"(?<![\w.]){place}(?![\w-])" for place in here), *elsewhere]).encode())
    found = [
        f"{path.relative_to(ROOT)}: {match.group().decode()}"
        for path in tracked()
        if (match := paths.search(path.read_bytes()))
    ]
    assert not found


def test_no_module_points_to_pages_that_do_not_lie_in_the_tree():
    elsewhere = re.compile(r"notes: \w+, |the notes' |INTERFACES")
    assert not [p for p in sources() if elsewhere.search(p.read_text("utf-8"))]


def test_every_page_of_knowledge_says_what_it_claims_and_where_from():
    pages = [p for p in tracked() if p.relative_to(ROOT).parts[0] == "knowledge" and p.suffix == ".md"]
    for page in (p for p in pages if p.name != "README.md"):
        head = re.match(r"\+\+\+\n(.*?)\n\+\+\+\n", page.read_text("utf-8"), re.DOTALL)
        assert head, page
        assert {"claim", "source", "date"} <= set(tomllib.loads(head[1])), page


def test_the_pins_cover_the_dependencies():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    pins = dict(line.split("==") for line in (ROOT / "constraints.txt").read_text().split())
    names = {re.split(r"[><=\[ ]", d)[0].lower() for d in project["dependencies"]}
    assert names == {"textual", "torch", "anthropic", "gitpython", "watchfiles"}
    assert names <= {n.lower() for n in pins}
    assert pins["torch"] == "2.13.0"


def test_the_version_is_the_same_everywhere():
    from engine import __version__

    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert project["version"] == __version__
    heads = re.findall(r"^## \[(.+?)\]", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)
    released = [head for head in heads if head != "Unreleased"]
    assert heads and (not released or released[0] == __version__)
