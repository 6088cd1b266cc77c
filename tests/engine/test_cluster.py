"""A Ray cluster of several nodes, real ones on this machine: evaluations spread over them, and nodes that are lost.

Skipped without Ray (`pip install 'avo-tui[ray]'`). The scorer on the nodes is the one that is told figures.
"""

import asyncio
import contextlib
import os
import signal
import sys
import time
from pathlib import Path

import pytest

from engine.cluster import Cluster
from engine.record.config import ScorerConfig
from engine.record.errors import ScorerError
from engine.scorer import problem as problems

ray = pytest.importorskip("ray", reason="Ray is not installed: pip install 'avo-tui[ray]'")
cluster_utils = pytest.importorskip("ray.cluster_utils")

pytestmark = [pytest.mark.filterwarnings("default"), pytest.mark.timeout(120)]
FAKE = Path(__file__).with_name("fake_scorer.py")
SHIPPED = Path(__file__).resolve().parents[2] / "kernels" / "mha_cpu"
NAP_S = 0.4
MARK = f"scorer-of-{os.getpid()}"  # tells our scorers from those of tests that run beside
QUICK_TO_MISS = {"health_check_period_ms": 300, "health_check_timeout_ms": 1500, "health_check_failure_threshold": 3}


@pytest.fixture(scope="module")
def nodes():
    """A head that scores nothing and four nodes with one device each."""
    made = cluster_utils.Cluster(initialize_head=True, head_node_args={"num_cpus": 0, "_system_config": QUICK_TO_MISS})
    for _ in range(4):
        made.add_node(num_cpus=1)
    made.wait_for_nodes()
    yield made
    ray.shutdown()
    made.shutdown()


@pytest.fixture
async def open_cluster(nodes, tmp_path):
    made = []

    def make(**fields):
        config = ScorerConfig(command=(sys.executable, str(FAKE), MARK), ray=nodes.address, threads=1, **fields)
        made.append(Cluster(config, problems.load(SHIPPED), tmp_path))
        return made[-1]

    yield make
    for cluster in made:
        await cluster.close()


@pytest.fixture
def candidate(tmp_path):
    def write(number, extra=""):
        folder = tmp_path / f"c{number}"
        folder.mkdir(exist_ok=True)
        (folder / "attention.cpp").write_text(f"// speed: {number + 1}\n// slow: {NAP_S}\n{extra}")
        return folder

    return write


async def until(what, deadline_s=30):
    async with asyncio.timeout(deadline_s):
        while not what():  # noqa: ASYNC110 other processes are waited for
            await asyncio.sleep(0.02)


async def evaluate(cluster, folder, seen=None):
    async with cluster.lane() as host:
        score = await host.score(folder, suite="quick", on_event=None if seen is None else seen.append)
        return host.place, score.geomean_tflops


async def all_of(cluster, folders):
    """Seconds and results of every candidate at once, on nodes that are ready."""
    await asyncio.gather(*(evaluate(cluster, folders[0]) for _ in range(cluster.width)))
    began = time.monotonic()
    found = await asyncio.gather(*(evaluate(cluster, folder) for folder in folders))
    return time.monotonic() - began, found


async def one_lane(cluster, folders):
    """Seconds of the same one after another, on one node that is ready."""
    async with cluster.lane() as host:
        await host.score(folders[0], suite="quick")
        began = time.monotonic()
        for folder in folders:
            await host.score(folder, suite="quick")
        return time.monotonic() - began


async def test_four_nodes_evaluate_three_times_as_many_candidates_as_one(open_cluster, candidate):
    cluster = open_cluster()
    assert cluster.width == 4
    folders = [candidate(n) for n in range(16)]
    four_s, found = await all_of(cluster, folders)
    one_s = await one_lane(cluster, folders[:4]) * 4
    print(f"16 evaluations: one node {one_s:.2f} s, four nodes {four_s:.2f} s: {one_s / four_s:.2f}x")
    assert [tflops for _, tflops in found] == [float(n + 1) for n in range(16)]
    assert len({place for place, _ in found}) == 4
    assert four_s * 3 <= one_s


async def test_progress_travels_and_all_rounds_of_a_comparison_are_on_one_node(open_cluster, candidate):
    cluster, seen = open_cluster(), []
    async with cluster.lane() as host:
        await host.score(candidate(0), suite="quick", on_event=seen.append)
        place = host.place
        for first in range(3):
            found = await host.rounds([str(candidate(1)), str(candidate(0))], rounds=1, first=first)
            assert host.place == place
            assert found.rounds[0].latency_us[0][0] < found.rounds[0].latency_us[1][0]
    assert {e["event"] for e in seen} == {"progress", "output"}


async def test_a_scorer_killed_on_its_node_costs_one_retry_and_nothing_else(open_cluster, candidate):
    cluster = open_cluster()
    folders = [candidate(n) for n in range(8)]
    running = [asyncio.create_task(evaluate(cluster, f)) for f in folders]
    await asyncio.sleep(0)
    victim = await _scorer_process()
    os.kill(victim, signal.SIGKILL)
    found = await asyncio.gather(*running)
    assert [tflops for _, tflops in found] == [float(n + 1) for n in range(8)]


async def test_a_lost_node_costs_its_evaluation_one_retry_and_nothing_else(open_cluster, nodes, candidate):
    cluster = open_cluster()
    extra = nodes.add_node(num_cpus=1)
    nodes.wait_for_nodes()
    assert cluster.width == 5
    folders = [candidate(n) for n in range(10)]
    running = [asyncio.create_task(evaluate(cluster, f)) for f in folders]
    await until(lambda: _busy(extra))
    await asyncio.to_thread(nodes.remove_node, extra, False)
    found = await asyncio.gather(*running)
    assert [tflops for _, tflops in found] == [float(n + 1) for n in range(10)]
    assert cluster.width == 4


async def test_a_comparison_whose_node_is_lost_goes_on_elsewhere_and_says_so(open_cluster, nodes, candidate):
    cluster = open_cluster()
    async with cluster.lane() as host:
        await host.rounds([str(candidate(0))] * 2, rounds=1, first=0)
        place = host.place
        pid = int(place.rpartition("(")[2].rstrip(")"))
        os.kill(pid, signal.SIGKILL)
        await host.rounds([str(candidate(0))] * 2, rounds=1, first=1)
        assert host.place != place


async def test_what_dies_twice_is_an_error_of_ours(open_cluster, candidate):
    with pytest.raises(ScorerError, match="the scorer ended with code 3"):
        await evaluate(open_cluster(), candidate(0, "// die"))


async def test_closing_gives_every_device_back(open_cluster, candidate):
    cluster = open_cluster()
    await evaluate(cluster, candidate(0))
    await cluster.close()
    await until(lambda: ray.available_resources().get("CPU", 0) >= 4 and not _scorers())


async def test_cancelling_an_evaluation_ends_it_on_its_node(open_cluster, candidate):
    cluster, seen = open_cluster(), []
    task = asyncio.create_task(evaluate(cluster, candidate(0, "// mute"), seen))
    await until(seen.__len__)
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task
    await until(lambda: not _scorers())
    assert (await evaluate(cluster, candidate(3)))[1] == 4.0


def test_a_run_scores_on_the_cluster_and_still_hears_its_signals(new_run, nodes):
    turns = (
        [["write", "// speed: 1"], ["variants", [1.5, 3.0, "die", 2.0]]],
        [["write", "// speed: 2"], ["submit"]],
        [["sleep", 60]],
    )
    run = new_run(*turns, scorer={"ray": nodes.address, "threads": 1})
    process = run.start()
    run.until(lambda r: "sleep" in run.doing(r))
    process.send_signal(signal.SIGTERM)
    run.until(lambda r: run.state(r) == "stopping")
    process.send_signal(signal.SIGTERM)
    assert run.finish(process) == 0, run.log()
    with run.read() as reader:
        assert sorted(a.name for a in reader.attempts() if a.name.startswith("variant")) == [
            "variant 0", "variant 1", "variant 3",
        ]  # fmt: skip
        assert reader.head() == 1
        assert [e.event().reason for e in reader.tail(1, kinds=("state",))] == ["stopped by SIGTERM"]
    assert "Traceback" not in run.log()


def test_no_cluster_is_one_line(tmp_path):
    ray.shutdown()
    with pytest.raises(ScorerError, match=r"no Ray cluster at '127\.0\.0\.1:1'") as caught:
        Cluster(ScorerConfig(ray="127.0.0.1:1"), problems.load(SHIPPED), tmp_path)
    assert "\n" not in str(caught.value)


def _scorers():
    """The scorers on our nodes."""
    found = []
    for folder in Path("/proc").iterdir():
        with contextlib.suppress(OSError, ValueError):
            if MARK.encode() in (folder / "cmdline").read_bytes().split(b"\0"):
                found.append(int(folder.name))
    return found


async def _scorer_process():
    await until(_scorers)
    await asyncio.sleep(NAP_S / 2)
    return _scorers()[0]


def _busy(node):
    """Whether a node gave its device out."""
    from ray._private.state import available_resources_per_node

    return available_resources_per_node().get(node.node_id, {}).get("CPU", 0) == 0
