"""Every cheat of the catalogue that a CPU candidate can try, as a candidate that really does it, beside honest ones.

A cheat says in its third line what must become of it: a stage and the check that names what was caught (several
separated by |), or "harmless": accepted, at an honest time.
"""

from __future__ import annotations

import re
import shutil
import time
from pathlib import Path
from typing import Any

import pytest
from served import Scorer, failed_checks

HERE = Path(__file__).parent
CHEATS = sorted((HERE / "cheats").glob("*.cpp"))
HONEST = sorted((HERE / "honest").glob("*.cpp"))
# Between the kernel inside a cheat and itself lies noise; between a skipped call and an honest one, factors of ten.
FASTER = 2.5
TRACES = [Path("/tmp/avo-cheat-was-here"), Path("/tmp/avo-cheat-cache")]


def expectation(cheat: Path) -> tuple[list[list[str]], str]:
    text = cheat.read_text()
    expected = re.search(r"^// expect: (.+)$", text, re.MULTILINE)
    suite = re.search(r"^// suite: (\w+)$", text, re.MULTILINE)
    assert expected, f"{cheat.name} does not say what is expected of it"
    return [part.split() for part in expected[1].split("|")], suite[1] if suite else "quick"


def folder_of(cheat: Path, tmp_path: Path) -> Path:
    folder = tmp_path / "cheat"
    folder.mkdir()
    shutil.copy(cheat, folder)
    shutil.copy(HERE / "cheats" / "base.h", folder)
    return folder


def living_workers(cache: Path) -> list[str]:
    """Command lines of processes that were started from the tests' own cache and still live."""
    found = []
    for process in Path("/proc").iterdir():
        if process.name.isdigit():
            try:
                line = (process / "cmdline").read_bytes().replace(b"\0", b" ").decode()
            except OSError:
                continue
            if f"{cache}/runner" in line or f"{cache}/confine" in line:
                found.append(line)
    return found


@pytest.fixture(scope="session")
def honest_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The kernel inside every cheat, without the cheat."""
    place = tmp_path_factory.mktemp("honest")
    (place / "honest.cpp").write_text('#include "base.h"\nFORWARD(honest(q, k, v, o, s);)\n')
    shutil.copy(HERE / "cheats" / "base.h", place)
    return place


def outruns(scorer: Scorer, cheat: Path, honest: Path, suite: str, result: dict[str, Any]) -> bool:
    """Whether a cheat that was let through with this result is faster than the kernel inside it, both measured in turns
    now: on a shared machine a figure from another minute says little. The cheat's first turn was its result.
    """
    for turn in range(3):
        if turn:
            result = scorer.score(cheat, suite=suite, call_timeout_s=2.0)
            if not result["correct"]:
                return False
        beside = scorer.score(honest, suite=suite, call_timeout_s=2.0)
        assert beside["correct"], beside["reason"]
        if result["geomean_tflops"] / beside["geomean_tflops"] < FASTER:
            return False
    return True


@pytest.mark.parametrize("cheat", CHEATS, ids=lambda p: p.stem)
def test_a_cheat_is_rejected_or_made_harmless(cheat: Path, scorer: Scorer, tmp_path: Path, honest_folder: Path):
    expected, suite = expectation(cheat)
    folder = folder_of(cheat, tmp_path)
    result = scorer.score(folder, suite=suite, call_timeout_s=2.0)
    outcome = "harmless" if result["correct"] else result["stage"]
    matching = [e for e in expected if e[0] == outcome]
    assert matching, f"{outcome}: {result['reason']}\n{result['log'][-2000:]}"
    if outcome == "harmless":
        assert not outruns(scorer, folder, honest_folder, suite, result), "faster than the kernel inside it"
    else:
        assert result["geomean_tflops"] is None
        assert result["reason"]
        assert any(len(e) == 1 or e[1] in failed_checks(result) for e in matching), failed_checks(result)
    assert not any(trace.exists() for trace in TRACES)


@pytest.mark.parametrize("kernel", HONEST, ids=lambda p: p.stem)
def test_an_honest_kernel_is_accepted(kernel: Path, scorer: Scorer):
    result = scorer.score(kernel)
    assert result["correct"], result["reason"]
    assert result["stage"] == "ok"
    assert result["geomean_tflops"] > 0
    assert failed_checks(result) == []


def test_nothing_of_a_candidate_lives_on(scorer: Scorer, cache: Path):
    """Runs after the cheats: no worker, no daemon, no shared memory, no file is left of them."""
    deadline = time.monotonic() + 5
    while mine := living_workers(cache):
        if time.monotonic() > deadline:
            pytest.fail(f"still alive: {mine}")
        time.sleep(0.05)
    segments = Path("/proc/sysvipc/shm").read_text() if Path("/proc/sysvipc/shm").exists() else ""
    assert "4281679" not in segments  # 0x41564f


@pytest.mark.soak
@pytest.mark.parametrize("run", range(20))
@pytest.mark.timeout(900)
def test_the_whole_suite_comes_out_the_same_twenty_times(run: int, scorer: Scorer, tmp_path: Path, honest_folder: Path):
    wrong = []
    for cheat in CHEATS:
        expected, suite = expectation(cheat)
        place = tmp_path / cheat.stem
        place.mkdir()
        folder = folder_of(cheat, place)
        result = scorer.score(folder, suite=suite, call_timeout_s=2.0)
        outcome = "harmless" if result["correct"] else result["stage"]
        if outcome not in [e[0] for e in expected]:
            wrong.append((cheat.stem, outcome, result["reason"]))
        elif outcome == "harmless" and outruns(scorer, folder, honest_folder, suite, result):
            wrong.append((cheat.stem, outcome, "faster than the kernel inside it"))
    for kernel in HONEST:
        result = scorer.score(kernel)
        if not result["correct"]:
            wrong.append((kernel.stem, result["stage"], result["reason"]))
    wrong += [(trace.name, "harmless", "left on the host") for trace in TRACES if trace.exists()]
    assert wrong == []
