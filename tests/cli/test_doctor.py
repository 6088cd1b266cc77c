"""The doctor's findings: what this kernel offers, what a machine can run, and one screen however much is missing."""

import re

import pytest

from avo_tui import confinement
from avo_tui.commands.doctor import Finding, _lines, able

SOUND = [Finding(what, "ok", "there") for what in ("python", "compiler", "git", "sandbox", "gpu")]


def test_the_means_of_confinement_are_named_with_what_brings_them():
    found = confinement.belts()
    assert [b.name.split()[0] for b in found] == ["bubblewrap", "user", "Landlock", "seccomp"]
    assert all(b.there or b.mend for b in found)
    assert confinement.groups() in ("", "v1", "v2")


def test_a_machine_without_a_gpu_runs_the_cpu_problems():
    without = [*SOUND[:-1], Finding("gpu", "note", "no NVIDIA driver here")]
    found = able(without)
    assert (found["mha_cpu"], found["gqa_cpu"]) == ("", "")
    assert found["mha_cuda"] == found["gqa_cuda"] == "no NVIDIA driver here"
    assert set(able(SOUND).values()) == {""}


def test_what_is_missing_bars_every_problem_and_is_named():
    assert set(able([*SOUND, Finding("git", "missing", "not found")]).values()) == {"git: not found"}


@pytest.mark.parametrize(("columns", "rows"), [(80, 24), (120, 40)])
def test_even_with_much_amiss_it_fits_one_screen(columns, rows, monkeypatch):
    monkeypatch.setenv("COLUMNS", str(columns))
    monkeypatch.setenv("LINES", str(rows))
    monkeypatch.setattr("sys.stdout.isatty", lambda: True, raising=False)
    amiss = [Finding(f"thing {n}", "note", "words " * 30, "a command that mends it") for n in range(12)]
    lines = _lines([*SOUND, *amiss, Finding("last", "missing", "gone", "apt install it")])
    assert len(lines) < rows or rows > 24
    assert all(len(line) <= columns for line in lines)
    assert any(re.search(r"-> apt install it", line) for line in lines)


def test_what_is_longer_than_a_line_goes_on_below_it_while_there_is_room(monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setenv("LINES", "24")
    monkeypatch.setattr("sys.stdout.isatty", lambda: True, raising=False)
    packages = "torch 2.13.0+cpu, textual 8.2.8, anthropic 2.12.0, gitpython 3.2.1, watchfiles 1.3.0"
    lines = _lines([*SOUND, Finding("packages", "ok", packages)])
    assert " ".join(line[21:] for line in lines[-2:]) == packages
    assert all(len(line) <= 80 for line in lines)
