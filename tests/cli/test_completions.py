"""Completions in the shells themselves: bash always, zsh and fish where they are installed."""

import json
import os
import shutil
import subprocess
import time
from pathlib import Path

import pytest

from avo_tui import completions
from avo_tui.arguments import parser
from engine.data import kernels_directory
from engine.lineage import Lineage
from engine.record.scores import Score


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """Two runs with three versions each, as a shell sees them."""
    folder = tmp_path_factory.mktemp("runs")
    score = Score("tiny", True, "ok", "", "cpu", 1.0, (), 1.0)
    for name in ("night", "gqa_cpu-1122-2040"):
        (folder / name).mkdir()
        (folder / name / "journal.db").write_bytes(b"")
        lineage = Lineage.create(folder / name / "lineage")
        for version in range(3):
            lineage.commit(
                {"a.cpp": f"// {version}".encode()}, version=version, parent=version - 1 if version else None,
                score=score, message="m", trailers={},
            )  # fmt: skip
    (folder / "no-run").mkdir()
    return folder


@pytest.fixture(scope="module")
def scripts(tmp_path_factory):
    folder = tmp_path_factory.mktemp("scripts")
    for shell in ("bash", "zsh", "fish"):
        (folder / shell).write_text(completions.script(shell, parser(), str(kernels_directory())))
    return folder


_BASH = """
source "$1"; shift
COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1))
compopt() { :; }
_avo
printf '%s\\n' "${COMPREPLY[@]}"
"""


def in_bash(script, runs, *words):
    line = ["bash", "--norc", "-c", _BASH, "test", str(script), "avo", *words]
    return _run(line, runs)


def _run(line, runs, **more):
    env = {"PATH": os.environ["PATH"], "HOME": str(runs), "AVO_RUNS": str(runs), "LC_ALL": "C.UTF-8", **more}
    done = subprocess.run(line, capture_output=True, text=True, timeout=20, env=env, cwd=runs)
    assert done.stderr == ""
    return [w for w in done.stdout.splitlines() if w]


VERSIONS = ["v0", "v1", "v2", "best"]
ALL_RUNS = ["gqa_cpu-1122-2040", "night"]
# What is typed, and what the shell must offer.
TYPED = [
    (["sta"], ["status"]),
    (["status", ""], ALL_RUNS),
    (["status", "ni"], ["night"]),
    (["show", "night", "v"], VERSIONS[:3]),
    (["rollback", "night", ""], VERSIONS),
    (["diff", "night", "v0", ""], VERSIONS),
    (["run", "mha"], ["mha_cpu", "mha_cuda"]),
    (["run", "--operator", ""], ["playbook", "agent", "external"]),
    (["run", "--operator", "a"], ["agent"]),
    (["run", "--minutes", "5", "gqa_c"], ["gqa_cpu", "gqa_cuda"]),
    (["score", "--problem", "mha_cp"], ["mha_cpu"]),
    (["score", "k/", "--suite", ""], ["quick", "full"]),
    (["knowledge", "s"], ["search", "show"]),
    (["completions", "f"], ["fish"]),
    (["status", "--js"], ["--json"]),
    (["export", "night", "b"], ["best"]),
]


@pytest.mark.parametrize(("words", "offered"), TYPED, ids=" ".join)
def test_bash_offers_what_fits(scripts, runs, words, offered):
    assert sorted(in_bash(scripts / "bash", runs, *words)) == sorted(offered)


def test_bash_completes_a_version_of_a_run_behind_its_at_sign(scripts, runs):
    assert in_bash(scripts / "bash", runs, "run", "--from", "night", "@") == [f"@{v}" for v in VERSIONS]
    assert in_bash(scripts / "bash", runs, "run", "--from", "night", "@", "v1") == ["v1"]
    assert in_bash(scripts / "bash", runs, "bench", "ni") == ["night@"]


def test_bash_looks_where_runs_says(scripts, runs, tmp_path):
    (tmp_path / "elsewhere" / "far").mkdir(parents=True)
    (tmp_path / "elsewhere" / "far" / "journal.db").write_bytes(b"")
    assert in_bash(scripts / "bash", runs, "status", "--runs", str(tmp_path / "elsewhere"), "") == ["far"]
    assert in_bash(scripts / "bash", tmp_path, "status", "") == []


def test_bash_offers_every_command_and_option_of_the_parser(scripts, runs):
    every = list(completions.commands(parser()))
    tops = [c.name for c in every if " " not in c.name]
    assert sorted(in_bash(scripts / "bash", runs, "")) == sorted(tops)
    for command in (c for c in every if not any(o.name.startswith(f"{c.name} ") for o in every)):
        offered = in_bash(scripts / "bash", runs, *command.name.split(), "-")
        assert sorted(offered) == sorted({o.name for o in command.options}), command.name


def test_no_python_starts_while_a_person_types(scripts, runs):
    """A tenth of a second is what a person does not notice; a busy machine shows in how long a shell takes to start."""

    def took(*words):
        best = 1e9
        for _ in range(5):
            began = time.perf_counter()
            in_bash(scripts / "bash", runs, *words)
            best = min(best, time.perf_counter() - began)
        return best

    shell = min(_empty(runs) for _ in range(5))
    for words in (["status", ""], ["show", "night", ""], ["run", "m"]):
        assert took(*words) < 0.1 + 3 * shell, words
    assert "python" not in (scripts / "bash").read_text().lower()


def _empty(runs):
    began = time.perf_counter()
    _run(["bash", "--norc", "-c", ":"], runs)
    return time.perf_counter() - began


def test_a_real_bash_completes_at_its_prompt(scripts, runs):
    """Typed at a prompt with the tab key, as bash's readline does it."""
    ask = f"source {scripts / 'bash'}\n"
    done = subprocess.run(
        ["bash", "--norc", "--noprofile", "-i"], input=f"{ask}complete -p avo\ncompgen -A function _avo\nexit\n",
        capture_output=True, text=True, timeout=20, env={"PATH": os.environ["PATH"], "HOME": str(runs)},
    )  # fmt: skip
    assert "complete -F _avo avo" in done.stdout


_ZSH = """
autoload -Uz compinit; compinit -u -d "$2/zcompdump"
source "$1"
compadd() { local -a given; given=("$@"); local name=${given[-1]}; print -l -- ${(P)name}; }
_describe() { local name=$2; print -l -- ${${(P)name}%%:*}; }
_files() { :; }
shift 2
words=("$@"); CURRENT=$#; PREFIX=${words[-1]}
_avo
"""


@pytest.mark.skipif(shutil.which("zsh") is None, reason="zsh is not installed")
@pytest.mark.parametrize(("words", "offered"), TYPED, ids=" ".join)
def test_zsh_offers_what_fits(scripts, runs, words, offered, tmp_path):
    """What is offered here is not narrowed yet to what was typed; zsh does that itself."""
    found = _run(["zsh", "-f", "-c", _ZSH, "test", str(scripts / "zsh"), str(tmp_path), "avo", *words], runs)
    assert set(offered) <= set(found)
    narrowed = [w for w in found if w.startswith(words[-1])]
    assert sorted(narrowed) == sorted(offered)


@pytest.mark.skipif(shutil.which("fish") is None, reason="fish is not installed")
@pytest.mark.parametrize(("words", "offered"), TYPED, ids=" ".join)
def test_fish_offers_what_fits(scripts, runs, words, offered):
    typed = " ".join(["avo", *words])
    line = ["fish", "--no-config", "-c", f"source {scripts / 'fish'}; complete -C {json.dumps(typed)}"]
    found = [w.split("\t")[0] for w in _run(line, runs)]
    assert set(offered) <= set(found)


def test_the_command_prints_the_script(avo):
    said = avo("completions", "bash")
    assert said.code == 0
    assert "complete -F _avo avo" in said.out
    avo("completions", "tcsh").refused(2, "tcsh")
    assert Path(kernels_directory()).is_dir()
