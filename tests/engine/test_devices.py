"""Several devices: evaluations spread over them, comparisons stay on one, and one that dies costs one retry."""

import asyncio
import json
import os
import sys
import time
from pathlib import Path

import pytest

from engine.devices import Devices, open_scorers, processors, slots
from engine.host import Host, Slot, kill_orphan
from engine.record.config import ScorerConfig
from engine.record.errors import ConfigError
from engine.record.liveness import Identity, process_alive
from engine.scorer import problem as problems

FAKE = Path(__file__).with_name("fake_scorer.py")
SCORER = ScorerConfig(command=(sys.executable, str(FAKE)))
NAP_S = 0.25


@pytest.fixture
def problem(tmp_path):
    (tmp_path / "problem").mkdir()
    (tmp_path / "problem" / "problem.toml").write_text('[[configuration]]\nname = "a"\nquick = true\n')
    return tmp_path / "problem"


@pytest.fixture
def candidate(tmp_path):
    def write(name, text):
        folder = tmp_path / name
        folder.mkdir(exist_ok=True)
        (folder / "attention.cpp").write_text(text)
        return folder

    return write


@pytest.fixture
async def open_devices(problem, tmp_path):
    """Make a pool of devices that share the one scorer of the tests."""
    made = []

    def make(count):
        found = [
            Slot(f"device {n}", {"CUDA_VISIBLE_DEVICES": str(n)}, file=f"scorer-{n}" if n else "scorer")
            for n in range(count)
        ]
        made.append(Devices([Host(SCORER, problem, tmp_path / "artifacts", slot=slot) for slot in found]))
        return made[-1]

    yield make
    for pool in made:
        await pool.close()


async def evaluate(pool, folder):
    async with pool.lane() as host:
        return host.place, (await host.score(folder)).geomean_tflops


async def rate(pool, folders):
    """Evaluations per second, with the scorers already running."""
    await asyncio.gather(*(evaluate(pool, folders[0]) for _ in range(pool.width)))
    began = time.monotonic()
    await asyncio.gather(*(evaluate(pool, folder) for folder in folders))
    return len(folders) / (time.monotonic() - began)


async def test_four_devices_evaluate_three_times_as_many_candidates_as_one(open_devices, candidate):
    """Candidates sleep, so that four devices can be simulated on any machine."""
    folders = [candidate(f"c{n}", f"// speed: {n + 1}\n// slow: {NAP_S}") for n in range(16)]
    one, four = await rate(open_devices(1), folders[:6]), await rate(open_devices(4), folders)
    print(f"one device {60 * one:.0f} evaluations a minute, four {60 * four:.0f}: {four / one:.2f}x")
    assert four >= 3 * one


async def test_a_lane_is_ones_own_from_the_first_round_to_the_last(open_devices, candidate):
    pool, source = open_devices(3), candidate("c", f"// slow: {NAP_S / 5}")
    places = []

    async def compare():
        async with pool.lane(first=True) as host:
            for number in range(3):
                await host.rounds([str(source)] * 2, rounds=1, first=number)
                places.append(host.place)

    await asyncio.gather(compare(), compare(), *(evaluate(pool, source) for _ in range(6)))
    assert places == ["device 0"] * 6


def environment_of(who):
    return Path(f"/proc/{who.pid}/environ").read_bytes().split(b"\0")


def left(tmp_path, name):
    return Identity(**json.loads((tmp_path / "artifacts" / f"{name}.pid").read_text()))


async def poll(what):
    async with asyncio.timeout(10):
        while not what():  # noqa: ASYNC110 another process is waited for
            await asyncio.sleep(0.01)


async def test_a_scorer_killed_in_the_middle_costs_one_retry_and_nothing_else(open_devices, candidate, tmp_path):
    pool = open_devices(4)
    folders = [candidate(f"c{n}", f"// speed: {n + 1}\n// slow: {NAP_S}") for n in range(8)]
    running = [asyncio.create_task(evaluate(pool, folder)) for folder in folders]
    await poll(lambda: all((tmp_path / "artifacts" / f).exists() for f in ("scorer-2.pid", "scorer-3.pid")))
    others = [left(tmp_path, name) for name in ("scorer", "scorer-1", "scorer-3")]
    await asyncio.sleep(NAP_S / 2)
    os.kill(left(tmp_path, "scorer-2").pid, 9)
    found = await asyncio.gather(*running)
    assert [tflops for _, tflops in found] == [float(n + 1) for n in range(8)]
    assert all(process_alive(who) for who in others)


async def test_every_scorer_that_a_dead_engine_left_is_ended(open_devices, candidate, tmp_path):
    pool, source = open_devices(3), candidate("c", f"// slow: {NAP_S / 5}")
    await asyncio.gather(*(evaluate(pool, source) for _ in range(3)))
    every = [left(tmp_path, name) for name in ("scorer", "scorer-1", "scorer-2")]
    assert kill_orphan(tmp_path / "artifacts")
    await poll(lambda: not any(process_alive(who) for who in every))
    assert not kill_orphan(tmp_path / "artifacts")


async def test_each_scorer_sees_its_own_device_only(open_devices, candidate, tmp_path):
    pool, source = open_devices(2), candidate("c", f"// slow: {NAP_S / 5}")
    await asyncio.gather(*(evaluate(pool, source) for _ in range(2)))
    for number, name in enumerate(("scorer", "scorer-1")):
        assert f"CUDA_VISIBLE_DEVICES={number}".encode() in environment_of(left(tmp_path, name))


@pytest.mark.skipif(len(os.sched_getaffinity(0)) < 2, reason="needs two processors")
async def test_on_a_cpu_each_scorer_keeps_to_its_processors(problem, candidate, tmp_path):
    mine = sorted(os.sched_getaffinity(0))[:2]
    found = slots([str(core) for core in mine], "cpu")
    pool = Devices([Host(SCORER, problem, tmp_path / "artifacts", slot=slot) for slot in found])
    source = candidate("c", f"// slow: {NAP_S / 5}")
    await asyncio.gather(*(evaluate(pool, source) for _ in range(2)))
    kept = [os.sched_getaffinity(left(tmp_path, name).pid) for name in ("scorer", "scorer-1")]
    await pool.close()
    assert kept == [{core} for core in mine]


def test_processors_are_written_as_the_system_writes_them():
    assert processors("0-3,8") == {0, 1, 2, 3, 8}
    assert processors("two") == set()


@pytest.mark.parametrize(
    ("devices", "kind", "words"),
    [
        (["0", "0"], "cuda", "must be different"),
        (["first"], "cuda", "no CUDA device"),
        (["99999"], "cpu", "no processors of this machine"),
        (["0-0", "0"], "cpu", "is in two of them"),
        (["half"], "cpu", "no processors of this machine"),
    ],
)
def test_devices_that_make_no_sense_are_refused_in_one_line(devices, kind, words):
    with pytest.raises(ConfigError, match=words) as caught:
        slots(devices, kind)
    assert "\n" not in str(caught.value)


def test_what_excludes_each_other_is_refused(tmp_path):
    shipped = problems.load(Path(__file__).resolve().parents[2] / "kernels" / "mha_cpu")
    for config in (
        ScorerConfig(devices=("0",), spool=str(tmp_path)),
        ScorerConfig(ray="auto", devices=("0",)),
        ScorerConfig(ray="auto", spool=str(tmp_path)),
    ):
        with pytest.raises(ConfigError, match="exclude"):
            open_scorers(config, shipped, tmp_path)


# --- in a run ------------------------------------------------------------------------------

VARIANTS = [["write", "// speed: 1"], ["variants", [1.5, 3.0, 0.5, 2.0]]]


@pytest.fixture
def two_cores():
    mine = sorted(os.sched_getaffinity(0))
    if len(mine) < 2:
        pytest.skip("needs two processors")
    return tuple(str(core) for core in mine[:2])


def test_variants_of_a_run_are_attempts_of_their_own_measured_side_by_side(new_run, two_cores):
    run = new_run(VARIANTS, scorer={"devices": two_cores})
    assert run.finish() == 0, run.log()
    with run.read() as reader:
        found = {a.name: a for a in reader.attempts() if a.attempt}
        said = [e.event().text for e in reader.events(kinds=("said",))]
    assert set(found) == {"variant 0", "variant 1", "variant 2", "variant 3"}
    assert sorted(a.attempt for a in found.values()) == [1, 2, 3, 4]
    assert {a.direction for a in found.values()} == {"way-0", "way-1", "way-2", "way-3"}
    ratios = json.loads(said[0])
    assert ratios == pytest.approx([1.5, 3.0, 0.5, 2.0], rel=0.01)
    assert not list(run.folder.artifacts.glob("scorer*.pid"))


def test_a_scorer_that_always_dies_on_one_variant_costs_only_that_one(new_run, two_cores):
    run = new_run([["write", "// speed: 1"], ["variants", [2.0, "die", 3.0]]], scorer={"devices": two_cores})
    assert run.finish() == 0, run.log()
    with run.read() as reader:
        assert sorted(a.name for a in reader.attempts() if a.attempt) == ["variant 0", "variant 2"]
        said = json.loads(reader.events(kinds=("said",))[0].event().text)
    assert said[1].startswith("the scorer ended during 'score'")


def test_a_run_pauses_with_every_scorer_gone_and_goes_on(new_run, two_cores):
    run = new_run([["write", "// speed: 1"], ["variants", [1.5, 2.0]]], [["sleep", 60]], scorer={"devices": two_cores})
    process = run.start()
    run.until(lambda r: r.counts()[1] == 3)
    run.send("interrupt")
    run.until(lambda r: run.state(r) == "paused")
    run.until(lambda r: not list(run.folder.artifacts.glob("scorer*.pid")))
    run.send("stop")
    assert run.finish(process) == 0


def test_a_run_with_devices_that_are_not_there_ends_in_one_line(new_run):
    run = new_run(VARIANTS, scorer={"devices": ("4000",)})
    assert run.finish() == 2
    assert "no processors of this machine" in run.log()
    assert "Traceback" not in run.log()
