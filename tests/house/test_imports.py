"""Who may import whom: DESIGN's table of rooms, walked over the source of every module, lazy imports too."""

import ast
import math
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
OWN = ("engine", "avo_tui")
RECORD = ("engine.record",)
# What each room may import beside the standard library: a name allows itself and everything below it.
ROOMS = {
    "engine/record": RECORD,
    "engine/scorer": ("torch", "engine.scorer", "engine.record.scores", "engine.record.errors", "engine.record.frozen"),
    # httpx2 is the transport of anthropic: its timeouts and errors are named where they are met.
    "engine": ("engine", "anthropic", "httpx2", "git", "gitdb", "watchfiles", "mcp", "pypdf", "ray"),
    "avo_tui": (
        "avo_tui", "textual", "rich", "pygments", "watchfiles", "engine.record", "engine.lineage", "engine.data",
        "engine.archive", "engine.verify", "engine.private", "PIL", "aiohttp", "textual_serve", "engine.knowledge", "engine.knowledge_add", "engine.lessons", "engine.scorer.problem", "engine.__version__",
    ),
}  # fmt: skip
# Modules that need torch run in the scorer's own process; the engine and the viewers only talk to it.
HEAVY = ("torch", "textual", "anthropic", "git", "rich", "watchfiles", "asyncio")


def room_of(path: Path) -> str:
    relative = path.relative_to(ROOT).as_posix()
    return max((room for room in ROOMS if relative.startswith(room + "/")), key=len)


def modules() -> list[Path]:
    return sorted(p for top in OWN for p in (ROOT / top).rglob("*.py") if "_shipped" not in p.parts)


def imported(path: Path) -> Iterator[str]:
    """Every name that a module imports, wherever in it; names under TYPE_CHECKING are not imported at all."""
    tree = ast.parse(path.read_text("utf-8"))
    unreal = {
        id(inner)
        for node in ast.walk(tree)
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test)
        for inner in ast.walk(node)
    }
    for node in ast.walk(tree):
        if id(node) in unreal:
            continue
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def allowed(name: str, room: str) -> bool:
    top = name.split(".", maxsplit=1)[0]
    if top in sys.stdlib_module_names or top == "__future__":
        return True
    return any(name == a or name.startswith(a + ".") for a in ROOMS[room])


@pytest.mark.parametrize("path", modules(), ids=lambda p: p.relative_to(ROOT).as_posix())
def test_a_module_imports_only_what_its_room_may(path):
    wrong = sorted(name for name in imported(path) if not allowed(name, room_of(path)))
    assert not wrong, f"{path.relative_to(ROOT)} imports {wrong}"


def test_the_rooms_form_no_circle():
    """Between rooms every arrow points down: nobody below imports the control room, nor the record anyone."""
    for path in modules():
        if path.relative_to(ROOT).parts[0] == "engine":
            assert not [n for n in imported(path) if n.split(".")[0] == "avo_tui"], path


@pytest.mark.parametrize(
    "module", ["avo_tui.cli", "avo_tui.arguments", "avo_tui.commands.look", "avo_tui.commands.steer"]
)
def test_nothing_heavy_is_loaded_by_the_command_line(module):
    code = f"import sys, {module}; print(*[m for m in {HEAVY!r} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ""


@pytest.mark.parametrize("words", [["--help"], ["runs"], ["status"], ["knowledge", "list"], ["run", "--help"]])
def test_no_heavy_module_is_loaded_by_a_quick_command(words, tmp_path):
    code = (
        "import sys\nfrom avo_tui.cli import main\n"
        f"try:\n    main({[*words]!r})\nexcept SystemExit:\n    pass\n"
        f"print('LOADED', *[m for m in {HEAVY!r} if m in sys.modules])"
    )
    env = {"AVO_RUNS": str(tmp_path), "PATH": "/usr/bin:/bin", "HOME": str(tmp_path)}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=env, cwd=ROOT)
    assert done.stdout.strip().splitlines()[-1] == "LOADED"


def test_the_engine_never_loads_torch_textual_or_aiohttp():
    names = [m.relative_to(ROOT).with_suffix("").as_posix().replace("/", ".") for m in modules()]
    engine = [
        n.removesuffix(".__init__") for n in names if n.startswith("engine.") and not n.startswith("engine.scorer")
    ]
    code = f"import importlib, sys\nfor n in {engine!r}: importlib.import_module(n)\n"
    code += "print(*[m for m in ('torch', 'textual', 'aiohttp') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    assert done.stdout.strip() == ""


def test_the_scorer_loads_from_a_copy_of_the_engine_and_a_problem_alone(tmp_path):
    """A bare host has Python, torch and a compiler: no textual, anthropic, git or watchfiles."""
    import shutil

    shutil.copytree(ROOT / "engine", tmp_path / "engine", ignore=shutil.ignore_patterns("__pycache__"))
    bare = tmp_path / "sitecustomize.py"
    bare.write_text(
        "import sys\n"
        "class Gone:\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        "        if name.split('.')[0] in ('textual', 'anthropic', 'git', 'watchfiles', 'rich', 'avo_tui'):\n"
        "            raise ImportError(name + ' is not on this host')\n"
        "sys.meta_path.insert(0, Gone())\n"
    )
    names = sorted(
        p.relative_to(tmp_path).with_suffix("").as_posix() for p in (tmp_path / "engine/scorer").rglob("*.py")
    )
    wanted = [n.replace("/", ".").removesuffix(".__init__") for n in names if not n.endswith("__main__")]
    code = f"import importlib\nfor n in {wanted!r}: importlib.import_module(n)\nimport engine; print(engine.__file__)"
    env = {"PYTHONPATH": str(tmp_path), "PATH": "/usr/bin:/bin", "HOME": str(tmp_path)}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=env, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == str(tmp_path / "engine" / "__init__.py")


def test_a_quick_command_costs_little_more_than_starting_python(tmp_path):
    """A ratio of processor times, because machines differ and others use them: beside what any command line loads."""
    env = {**os.environ, "AVO_RUNS": str(tmp_path)}

    def took(*command: str) -> float:
        process = subprocess.Popen([sys.executable, *command], env=env, stdout=subprocess.DEVNULL)
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        assert process.returncode == 0
        return usage.ru_utime + usage.ru_stime

    commands = {
        "base": ("-c", "import argparse, dataclasses, json, sqlite3, tomllib"),
        "runs": ("-m", "avo_tui.cli", "runs"),
        "help": ("-m", "avo_tui.cli", "--help"),
    }
    # In turns, so that a busy moment falls on all alike; more of them only where the first ones leave a doubt.
    least = dict.fromkeys(commands, math.inf)
    for turn in range(10):
        for name, command in commands.items():
            least[name] = min(least[name], took(*command))
        if turn >= 2 and least["runs"] < 4 * least["base"] and least["help"] < 3 * least["base"]:
            break
    assert least["runs"] < 4 * least["base"]
    assert least["help"] < 3 * least["base"]
