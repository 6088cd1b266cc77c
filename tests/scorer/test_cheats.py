"""Every cheat of the catalogue that a CPU candidate can try, as a candidate that really does it, beside honest ones.

A cheat says in its third line what must become of it: a stage and the check that names what was caught (several
separated by |), or "harmless": accepted, at an honest time.
"""

from __future__ import annotations

import re
import shutil
import tempfile
import time
from pathlib import Path

import pytest
from served import Scorer, failed_checks

HERE = Path(__file__).parent
CHEATS = sorted((HERE / "cheats").glob("*.cpp"))
HONEST = sorted((HERE / "honest").glob("*.cpp"))
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
def honest_gflops(scorer: Scorer) -> float:
    """What the kernel inside every cheat reaches when it does not cheat."""
    with tempfile.TemporaryDirectory() as place:
        (Path(place) / "honest.cpp").write_text('#include "base.h"\nFORWARD(honest(q, k, v, o, s);)\n')
        shutil.copy(HERE / "cheats" / "base.h", place)
        results = [scorer.score(Path(place)) for _ in range(3)]
    assert all(r["correct"] for r in results), results
    return max(r["geomean_tflops"] for r in results)


@pytest.mark.parametrize("cheat", CHEATS, ids=lambda p: p.stem)
def test_a_cheat_is_rejected_or_made_harmless(cheat: Path, scorer: Scorer, tmp_path: Path, honest_gflops: float):
    expected, suite = expectation(cheat)
    result = scorer.score(folder_of(cheat, tmp_path), suite=suite, call_timeout_s=2.0)
    outcome = "harmless" if result["correct"] else result["stage"]
    matching = [e for e in expected if e[0] == outcome]
    assert matching, f"{outcome}: {result['reason']}\n{result['log'][-2000:]}"
    if outcome == "harmless":
        assert result["geomean_tflops"] < 2.5 * honest_gflops, "faster than the kernel inside it"
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
def test_the_whole_suite_comes_out_the_same_twenty_times(
    run: int, scorer: Scorer, tmp_path: Path, honest_gflops: float
):
    wrong = []
    for cheat in CHEATS:
        expected, suite = expectation(cheat)
        place = tmp_path / cheat.stem
        place.mkdir()
        result = scorer.score(folder_of(cheat, place), suite=suite, call_timeout_s=2.0)
        outcome = "harmless" if result["correct"] else result["stage"]
        if outcome not in [e[0] for e in expected]:
            wrong.append((cheat.stem, outcome, result["reason"]))
        elif outcome == "harmless" and result["geomean_tflops"] >= 2.5 * honest_gflops:
            wrong.append((cheat.stem, outcome, "faster than the kernel inside it"))
    for kernel in HONEST:
        result = scorer.score(kernel)
        if not result["correct"]:
            wrong.append((kernel.stem, result["stage"], result["reason"]))
    wrong += [(trace.name, "harmless", "left on the host") for trace in TRACES if trace.exists()]
    assert wrong == []
