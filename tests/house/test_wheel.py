"""The package away from its checkout: built, installed into another environment, and used there."""

import json
import os
import shutil
import subprocess
import sys
import sysconfig
import tarfile
import venv
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


def call(*command, **options):
    done = subprocess.run(command, capture_output=True, text=True, timeout=100, **options)
    assert done.returncode == 0, done.stderr + done.stdout
    return done.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    """The wheel, built without a network."""
    folder = tmp_path_factory.mktemp("wheel")
    call(sys.executable, "-m", "pip", "wheel", "-q", "--disable-pip-version-check", "--no-deps", "--no-build-isolation",
         "-w", str(folder), str(ROOT))  # fmt: skip
    return next(folder.glob("avo_tui-*.whl"))


@pytest.fixture(scope="module")
def sdist(tmp_path_factory):
    """The source distribution, unpacked where no git is: all it holds must come from itself."""
    folder = tmp_path_factory.mktemp("sdist")
    call(sys.executable, "-m", "hatchling", "build", "-t", "sdist", "-d", str(folder), cwd=ROOT)
    with tarfile.open(next(folder.glob("*.tar.gz"))) as tar:
        tar.extractall(folder, filter="data")
    return next(p for p in folder.iterdir() if p.is_dir())


@pytest.fixture(scope="module")
def installed(wheel, tmp_path_factory):
    """Another environment with the wheel in it; third-party packages are borrowed from this one."""
    folder = tmp_path_factory.mktemp("away")
    venv.create(folder / "env", symlinks=True, with_pip=False)
    site = next((folder / "env").glob("lib/python*/site-packages"))
    call(sys.executable, "-m", "pip", "install", "-q", "--disable-pip-version-check", "--no-deps", "--no-index",
         "--target", str(site), str(wheel))  # fmt: skip
    # The path configuration files of this environment, the editable install among them, are not followed from there.
    (site / "borrowed.pth").write_text(sysconfig.get_paths()["purelib"] + "\n")
    python = folder / "env" / "bin" / "python"
    (folder / "avo").write_text(f"#!{python}\nimport sys\nfrom avo_tui.cli import main\nsys.exit(main())\n")
    (folder / "avo").chmod(0o755)
    return folder


def avo(installed, *words, code=0):
    env = {k: v for k, v in os.environ.items() if k not in ("PYTHONPATH", "VIRTUAL_ENV")}
    env |= {"AVO_RUNS": str(installed / "runs"), "HOME": str(installed)}
    done = subprocess.run(
        [str(installed / "avo"), *words], capture_output=True, text=True, timeout=100, env=env, cwd="/"
    )
    assert done.returncode == code, done.stderr + done.stdout
    return done.stdout


def test_problems_and_pages_travel_in_the_wheel(wheel):
    names = set(zipfile.ZipFile(wheel).namelist())
    assert {
        "engine/_shipped/kernels/mha_cpu/problem.toml",
        "engine/_shipped/kernels/mha_cpu/seed/attention.cpp",
    } <= names
    assert [n for n in names if n.startswith("engine/_shipped/knowledge/") and n.endswith(".md")]
    assert {n for n in names if n.endswith(".c")} >= {"engine/scorer/runner.c"}
    assert not [n for n in names if n.startswith("tests") or "__pycache__" in n]
    shipped = {p.relative_to(ROOT).as_posix() for top in ("engine", "avo_tui") for p in (ROOT / top).rglob("*.py")}
    assert {n for n in shipped if "_shipped" not in n} <= names


def test_the_source_distribution_holds_what_its_tests_need_and_nothing_astray(sdist):
    tops = {p.name for p in sdist.iterdir()}
    files = {"README.md", "ARCHITECTURE.md", "CHANGELOG.md", "LICENSE", "Makefile", "constraints.txt", "pyproject.toml"}
    assert tops == {"avo_tui", "engine", "kernels", "knowledge", "tests", ".gitignore", "PKG-INFO", *files}
    astray = [p for p in sdist.rglob("*") if p.name == "__pycache__" or p.suffix in (".pyc", ".orig", ".rej", ".new")]
    assert not astray
    done = subprocess.run(
        ["git", "ls-files", *(t for t in tops if (ROOT / t).is_dir())], cwd=ROOT, capture_output=True, text=True
    )
    lacking = [name for name in done.stdout.splitlines() if (ROOT / name).is_file() and not (sdist / name).is_file()]
    assert not lacking, "tests of an unpacked source distribution need these"


def test_a_wheel_of_the_source_distribution_is_the_wheel_of_the_checkout(sdist, wheel, tmp_path):
    call(sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(tmp_path), cwd=sdist)
    made = zipfile.ZipFile(next(tmp_path.glob("*.whl")))
    mine = zipfile.ZipFile(wheel)
    assert sorted(made.namelist()) == sorted(mine.namelist())
    differ = [n for n in mine.namelist() if made.read(n) != mine.read(n)]
    assert not differ


def test_the_installed_package_is_the_one_in_use(installed):
    python = installed / "env" / "bin" / "python"
    where = call(str(python), "-c", "import engine, avo_tui; print(engine.__file__, avo_tui.__file__)", cwd="/")
    assert all(path.startswith(str(installed)) for path in where.split())


def test_it_runs_away_from_the_checkout(installed):
    from engine import __version__

    assert avo(installed, "--version") == f"avo {__version__}\n"
    assert json.loads(avo(installed, "runs", "--json")) == []
    assert json.loads(avo(installed, "knowledge", "search", "online softmax", "--json"))


def test_a_shipped_problem_is_scored_away_from_the_checkout(installed):
    kernels = next((installed / "env").glob("lib/python*/site-packages/engine/_shipped/kernels"))
    mine = installed / "mine"
    shutil.copytree(kernels / "mha_cpu" / "seed", mine)
    words = "--problem mha_cpu --suite quick --patience 0 --json"
    score = json.loads(avo(installed, "score", str(mine), *words.split()))
    assert (score["correct"], score["stage"]) == (True, "ok")


def test_help_and_completions_need_no_checkout(installed):
    assert "avo run" in avo(installed, "--help")
    kernels = next((installed / "env").glob("lib/python*/site-packages/engine/_shipped/kernels"))
    assert str(kernels) in avo(installed, "completions", "bash")


@pytest.mark.soak
def test_a_kernel_is_evolved_away_from_the_checkout(installed):
    """Half a minute of a real run; the seed is scored and its baselines are measured first, whatever that takes."""
    said = avo(
        installed, "run", "mha_cpu", "--operator", "playbook", "--headless", "--minutes", "0.5", "--name", "away"
    )
    assert "v0" in said
    status = json.loads(avo(installed, "status", "away", "--json"))
    assert (status["state"], status["versions"] >= 1) == ("finished", True)
