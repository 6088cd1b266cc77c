"""Two machines that share no folder: requests and results are files, and the test is who carries them."""

import asyncio
import importlib.util
import json
import os
import shutil
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from tiny import until

from engine.data import kernels_directory
from engine.host import Host
from engine.record.config import ScorerConfig
from engine.record.errors import ScorerError
from engine.scorer import letters

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
SMALL = HERE / "small"
DEADLINE_S = 60.0


class Far:
    """The other machine: a copy of engine/ and a spool folder of its own."""

    def __init__(self, place: Path) -> None:
        self.place, self.spool = place, place / "spool"
        shutil.copytree(ROOT / "engine", place / "engine", ignore=shutil.ignore_patterns("__pycache__"))
        self.spool.mkdir()

    def serve(self) -> subprocess.CompletedProcess[str]:
        """Answer what lies there, and end."""
        return subprocess.run([*self.argv(), "--once"], **self.options(), capture_output=True, timeout=DEADLINE_S)

    def argv(self) -> list[str]:
        return [sys.executable, "-m", "engine.scorer", "--spool", str(self.spool)]

    def options(self) -> dict[str, Any]:
        keep = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}
        return {"cwd": self.place, "env": keep, "text": True}

    def answer(self, result: Path) -> None:
        """Have a request answered whose result comes here."""
        done = self.serve()
        assert done.returncode == 0, done.stderr
        assert result.exists()


class Lasting(Far):
    """The other machine where a scorer serves for ever, as `--spool` without `--once` does."""

    def __init__(self, place: Path, key: Path) -> None:
        super().__init__(place)
        shutil.copy(key, self.spool)
        self.process = subprocess.Popen(self.argv(), **self.options(), stderr=subprocess.PIPE)

    def answer(self, result: Path) -> None:
        until(lambda: result.exists() or self.process.poll() is not None)
        assert result.exists()

    def close(self) -> None:
        self.process.terminate()
        self.process.communicate(timeout=DEADLINE_S)


@pytest.fixture
def far(tmp_path):
    return Far(tmp_path / "far")


@pytest.fixture(scope="module")
def key(tmp_path_factory):
    """The key of the run's machine, which was copied to the other once."""
    folder = tmp_path_factory.mktemp("key")
    letters.key(folder, make=True)
    return folder / letters.KEY


@pytest.fixture(scope="module")
def standing(tmp_path_factory, key):
    there = Lasting(tmp_path_factory.mktemp("lasting") / "far", key)
    yield there
    there.close()


@pytest.fixture
def near(tmp_path):
    return tmp_path / "near"


@pytest.fixture
def lasting(standing, near, key):
    """The other machine, and its key on this one."""
    near.mkdir()
    shutil.copy(key, near)
    return standing


@pytest.fixture
def host(tmp_path, near):
    config = ScorerConfig(spool=str(near), threads=1)
    return Host(config, SMALL, tmp_path / "artifacts")


def source(tmp_path: Path, extra: str = "") -> Path:
    folder = tmp_path / "candidate"
    folder.mkdir(exist_ok=True)
    for file in (SMALL / "seed").iterdir():
        shutil.copy(file, folder)
    with next(folder.glob("*.cpp")).open("a") as file:
        file.write(f"\n// {extra}\n")
    return folder


async def found(folder: Path) -> Path:
    async with asyncio.timeout(DEADLINE_S):
        while not (names := [n for n in os.listdir(folder) if n.endswith(".json")]):  # noqa: ASYNC110, PTH208
            await asyncio.sleep(0.02)
    return folder / names[0]


async def carried(host: Host, near: Path, far: Far, asked) -> tuple[asyncio.Task, Path]:
    """Ask, carry the request over, have it answered; the answer still lies on the far side."""
    task = asyncio.create_task(asked)
    request = await found(near / letters.REQUESTS)
    (far.spool / letters.REQUESTS).mkdir(exist_ok=True)
    for path, target in ((near / letters.KEY, far.spool), (request, far.spool / letters.REQUESTS)):
        await asyncio.to_thread(shutil.copy, path, target)
    result = far.spool / letters.RESULTS / request.name
    await asyncio.to_thread(far.answer, result)
    return task, result


@contextmanager
def opened(path: Path):
    letter = json.loads(path.read_text())
    yield letter
    path.write_text(json.dumps(letter))


async def test_a_candidate_is_scored_where_only_files_can_go(host, near, far, tmp_path):
    seen = []
    asked = host.score(source(tmp_path), suite="quick", on_event=seen.append)
    task, result = await carried(host, near, far, asked)
    shutil.copy(result, near / letters.RESULTS)
    score = await asyncio.wait_for(task, DEADLINE_S)
    assert score.correct, score.reason
    assert score.geomean_tflops > 0
    assert seen[0]["phase"] == "spool"
    assert not list((near / letters.REQUESTS).iterdir())
    assert not list((near / letters.RESULTS).iterdir())


async def test_rounds_and_a_failing_candidate_travel_too(lasting, host, near, tmp_path):
    broken = tmp_path / "broken"
    broken.mkdir()
    (broken / "a.cpp").write_text("this is no C++\n")
    asked = host.rounds([str(source(tmp_path)), "baseline:torch_sdpa", str(broken)], rounds=1, first=0)
    task, result = await carried(host, near, lasting, asked)
    shutil.copy(result, near / letters.RESULTS)
    rounds = await asyncio.wait_for(task, DEADLINE_S)
    (measured,) = rounds.rounds
    assert all(measured.latency_us[0]), "the candidate"
    assert all(measured.latency_us[1]), "the baseline"
    assert measured.failures[2]


async def test_an_edited_result_is_refused_and_kept_aside(lasting, host, near, tmp_path):
    task, result = await carried(host, near, lasting, host.score(source(tmp_path), suite="quick"))
    with opened(result) as letter:
        letter["result"]["geomean_tflops"] *= 2
    shutil.copy(result, near / letters.RESULTS)
    with pytest.raises(ScorerError, match="was edited") as refused:
        await asyncio.wait_for(task, DEADLINE_S)
    assert "\n" not in str(refused.value)
    assert (near / letters.REFUSED / result.name).exists()


async def test_a_result_for_other_sources_is_refused(lasting, host, near, tmp_path):
    first, result = await carried(host, near, lasting, host.score(source(tmp_path), suite="quick"))
    first.cancel()
    await asyncio.gather(first, return_exceptions=True)
    assert not list((near / letters.REQUESTS).iterdir()), "a cancelled question is withdrawn"
    task = asyncio.create_task(host.score(source(tmp_path, "another kernel"), suite="quick"))
    request = await found(near / letters.REQUESTS)
    shutil.copy(result, near / letters.RESULTS / request.name)
    with pytest.raises(ScorerError, match="about other sources"):
        await asyncio.wait_for(task, DEADLINE_S)


async def test_a_scorer_of_another_version_is_told_apart_on_both_sides(host, near, far, tmp_path):
    with (far.place / "engine" / "scorer" / "timing.py").open("a") as file:
        file.write("# a little different\n")
    task, result = await carried(host, near, far, host.score(source(tmp_path), suite="quick"))
    shutil.copy(result, near / letters.RESULTS)
    with pytest.raises(ScorerError, match=r"another version.*copy the run's engine"):
        await asyncio.wait_for(task, DEADLINE_S)

    task = asyncio.create_task(host.score(source(tmp_path), suite="quick"))
    request = await found(near / letters.REQUESTS)
    secret = letters.key(near, make=False)
    asked = letters.read(request, secret)
    forged = {"format": 1, "id": asked["id"], "hashes": asked["hashes"], "request": asked["seal"], "scorer": "0" * 64}
    letters.write(near / letters.RESULTS / request.name, {**forged, "result": {}}, secret)
    with pytest.raises(ScorerError, match="measured by another version"):
        await asyncio.wait_for(task, DEADLINE_S)


async def test_the_far_side_runs_nothing_that_it_cannot_trust(host, near, far, tmp_path):
    done = far.serve()
    assert done.returncode == 2
    assert "copy it once" in done.stderr
    task = asyncio.create_task(host.score(source(tmp_path), suite="quick"))
    request = await found(near / letters.REQUESTS)
    (far.spool / letters.REQUESTS).mkdir()
    copy = Path(shutil.copy(request, far.spool / letters.REQUESTS))
    shutil.copy(near / letters.KEY, far.spool)
    with opened(copy) as letter:
        letter["fields"]["unsafe_no_sandbox"] = True
    (far.spool / letters.REQUESTS / "half.json").write_bytes(request.read_bytes()[:100])
    done = far.serve()
    assert done.returncode == 1
    assert len(done.stderr.strip().splitlines()) == 2, done.stderr
    assert not (far.spool / letters.RESULTS).exists()
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


async def test_a_command_that_wraps_the_scorer_is_as_good_as_none(tmp_path):
    """What ssh, srun and a container do: another program starts the scorer and passes its streams on."""
    script = f"cd '{ROOT}' && exec '{sys.executable}' -m engine.scorer --serve"
    host = Host(ScorerConfig(command=("sh", "-c", script), threads=1), SMALL, tmp_path / "artifacts")
    try:
        assert (await host.score(source(tmp_path), suite="quick")).correct
        assert (await host.probe())["threads"] == 1
    finally:
        await host.close()


@pytest.fixture
def bare(tmp_path):
    """A folder with engine/ and one problem; of all installed packages only torch can be found. Asks one request."""
    place, packages = tmp_path / "bare", tmp_path / "packages"
    shutil.copytree(ROOT / "engine", place / "engine", ignore=shutil.ignore_patterns("__pycache__"))
    torch = importlib.util.find_spec("torch")
    assert torch is not None
    assert torch.origin is not None
    site = Path(torch.origin).parents[1]
    packages.mkdir()
    for name in ("torch", "torchgen", "typing_extensions.py", "sympy", "mpmath", "networkx", "filelock", "jinja2",
                 "markupsafe", "fsspec", "nvidia", "triton"):  # fmt: skip
        if (site / name).exists():
            (packages / name).symlink_to(site / name)
    code = (
        "import sys, runpy; sys.path[:0] = sys.argv[1:3]; sys.argv = ['engine.scorer']; "
        "runpy.run_module('engine.scorer', run_name='__main__', alter_sys=True)"
    )

    def ask(problem: Path, **fields):
        shutil.copytree(problem, place / "problem", ignore=shutil.ignore_patterns("lineages", "playbook", "best"))
        request = {**fields, "source": str(place / "problem" / "seed"), "problem": str(place / "problem")}
        done = subprocess.run(
            [sys.executable, "-I", "-S", "-c", code, str(place), str(packages)],
            input=json.dumps(request), cwd=place, capture_output=True, text=True,
            timeout=DEADLINE_S, env={"PATH": os.environ["PATH"], "HOME": str(tmp_path)},
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    return ask


def test_a_copy_of_the_engine_and_one_problem_scores_on_a_bare_host(bare):
    assert bare(SMALL, op="score", suite="quick", threads=1)["correct"]


@pytest.mark.skipif(shutil.which("nvcc") is None, reason="nvcc is not on this machine")
def test_a_bare_host_with_nvcc_and_no_gpu_builds_a_cuda_candidate(bare):
    made = bare(kernels_directory() / "mha_cuda", op="build", architecture="90a")
    assert made["built"], made["log"]
    assert made["machine"] == "sm_90a"
