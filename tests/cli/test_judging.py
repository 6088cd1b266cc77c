"""`avo score` and `avo bench` with the real scorer, a real compiler and a real kernel."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from tiny import until

from engine.lineage import Lineage
from engine.record.config import RunConfig, save
from engine.record.events import VersionCommitted
from engine.record.journal import Journal
from engine.record.run import create_run
from engine.record.scores import ConfigurationScore, Integrity, Score
from engine.scorer import intake
from engine.scorer.machine import device, threads

SHAPE = """
name = "nano"
title = "Two very small shapes"
language = "cpp"
dtype = "float32"
tolerance = 1e-4
[build]
flags = ["-O2", "-std=c++17"]
allowed = ["-O3"]
[shape]
batch = 1
heads_q = 2
heads_kv = 2
head_dim = 64
[[configuration]]
name = "full_64"
seqlen = 64
causal = false
quick = true
[[configuration]]
name = "causal_64"
seqlen = 64
causal = true
[[holdout]]
name = "odd"
seqlen = 7
causal = true
"""
WRONG = "o[((static_cast<long>(0)*seqlen+0)*heads_q+(heads_q-1))*head_dim] += 0.5f;"
PLAIN = """
#include <cmath>
#include <vector>
extern "C" void attention_forward(const float* q, const float* k, const float* v, float* o, int batch, int heads_q,
                                  int heads_kv, int seqlen, int head_dim, int causal, float scale) {
  for (long b = 0; b < batch; ++b) for (int h = 0; h < heads_q; ++h) for (int i = 0; i < seqlen; ++i) {
    const int g = h / (heads_q / heads_kv), last = causal ? i : seqlen - 1;
    std::vector<double> p(last + 1);
    double top = -1e300, sum = 0;
    for (int j = 0; j <= last; ++j) {
      double s = 0;
      for (int d = 0; d < head_dim; ++d)
        s += double(q[((b*seqlen+i)*heads_q+h)*head_dim+d]) * k[((b*seqlen+j)*heads_kv+g)*head_dim+d];
      p[j] = s * scale; if (p[j] > top) top = p[j];
    }
    for (double& x : p) { x = std::exp(x - top); sum += x; }
    for (int d = 0; d < head_dim; ++d) {
      double s = 0;
      for (int j = 0; j <= last; ++j) s += p[j] * v[((b*seqlen+j)*heads_kv+g)*head_dim+d];
      o[((b*seqlen+i)*heads_q+h)*head_dim+d] = float(s / sum);
    }
  }
  /*SPOIL*/
}
"""


@pytest.fixture(scope="module")
def nano(tmp_path_factory):
    """A problem small enough that a score takes a second; its reference is the shipped one."""
    from engine.data import kernels_directory

    folder = tmp_path_factory.mktemp("problem") / "nano"
    (folder / "seed").mkdir(parents=True)
    (folder / "problem.toml").write_text(SHAPE)
    (folder / "reference.py").write_text((kernels_directory() / "mha_cpu" / "reference.py").read_text())
    (folder / "seed" / "attention.cpp").write_text(PLAIN)
    return folder


def spoiled(tmp_path, code):
    (tmp_path / "k.cpp").write_text(PLAIN.replace("/*SPOIL*/", code))
    return str(tmp_path / "k.cpp")


def test_score_json_is_the_contract(avo, nano):
    said = avo("score", str(nano / "seed"), "--problem", str(nano), "--no-baselines", "--json")
    assert said.code == 0, said
    score = said.json
    assert (score["problem"], score["correct"], score["stage"]) == ("nano", True, "ok")
    assert score["geomean_tflops"] > 0
    assert score["device"]
    assert score["seconds"] > 0
    assert [c["name"] for c in score["configurations"]] == ["full_64", "causal_64"]
    keys = {"name", "correct", "tflops", "tflops_std", "latency_us", "relative_error", "reason"}
    assert all(set(c) >= keys for c in score["configurations"])
    assert not score["baselines"]


def test_what_is_wrong_is_said_in_the_table_too(avo, nano, tmp_path):
    said = avo("score", spoiled(tmp_path, WRONG), "--problem", str(nano))
    assert said.code == 1
    assert "NOT correct (check)" in said.out


@pytest.mark.parametrize(
    ("code", "stage"),
    [
        pytest.param(WRONG, "check", id="one wrong head"),
        pytest.param("this does not compile", "build", id="syntax"),
        pytest.param('o[0] = std::nanf("");', "check", id="nan"),
        pytest.param("*(volatile int*)8 = 1;", "crash", id="crash"),
    ],
)
def test_what_goes_wrong_in_a_candidate_is_a_score_with_a_reason(avo, nano, tmp_path, code, stage):
    said = avo("score", spoiled(tmp_path, code), "--problem", str(nano), "--json")
    assert said.code == 1
    score = said.json
    assert (score["correct"], score["stage"], score["geomean_tflops"]) == (False, stage, None), said.out
    assert score["reason"]


def test_a_verdict_stays_whoever_stops_reading_it(avo, nano, tmp_path):
    """As in `avo score ... | head -1`."""
    reads, writes = os.pipe()
    os.close(reads)
    with os.fdopen(writes, "w") as nowhere:
        source = spoiled(tmp_path, WRONG)
        with avo.popen("score", source, "--problem", str(nano), "--no-baselines", stdout=nowhere) as process:
            _, said = process.communicate(timeout=60)
    assert (process.returncode, said) == (1, "")


def test_a_source_without_the_symbol_is_a_build_failure(avo, nano, tmp_path):
    (tmp_path / "k.cpp").write_text('extern "C" void attention() {}\n')
    said = avo("score", str(tmp_path), "--problem", str(nano), "--json")
    assert (said.code, said.json["stage"]) == (1, "build")
    assert "attention_forward" in said.json["reason"]


def test_the_table_holds_the_baseline_beside_the_candidate(avo, nano):
    text = avo("score", str(nano / "seed"), "--problem", str(nano)).out
    assert "torch_sdpa" in text
    assert "geomean" in text
    assert "full_64" in text


def test_bench_measures_files_folders_versions_and_every_baseline_in_the_same_rounds(avo, nano, tmp_path):
    folder = create_run(avo.runs, "nano", "made")
    score = Score("nano", True, "ok", "", "here", 1.0, geomean_tflops=0.001)
    lineage = Lineage.create(folder.lineage)
    commit = lineage.commit({"attention.cpp": PLAIN.encode()}, version=0, parent=None, score=score, message="the seed")
    with Journal.create(folder.journal, "made") as journal:
        journal.append(VersionCommitted(0, commit, None, 0, "improved", "", "the seed", score))
    sources = ["made@v0", "made@best", str(nano / "seed"), spoiled(tmp_path, "")]
    words = ("--problem", str(nano), "--repeats", "3", "--json")
    said = avo("bench", *sources, *words)
    assert (said.code, said.err) == (0, "")
    found = said.json
    assert (found["repeats"], found["configurations"]) == (3, ["full_64", "causal_64"])
    assert [s["name"] for s in found["sources"]] == [*sources, "torch_sdpa"]
    assert [s["baseline"] for s in found["sources"]] == [False] * 4 + [True]
    for s in found["sources"]:
        assert len(s["mean"]) == 2 and s["repeats"] == 3
        assert all(v > 0 for v in (*s["mean"], *s["std"], s["geomean_tflops"], s["geomean_std"])), s
    means = [s["geomean_tflops"] for s in found["sources"]]
    for s, mean in zip(found["sources"][:-1], means, strict=False):
        assert set(s["ratios"]["torch_sdpa"]) == {"full_64", "causal_64", "geomean"}
        assert s["ratios"]["torch_sdpa"]["geomean"] == pytest.approx(mean / means[-1])
    avo("bench", "made@v7", *words).refused(2, "no version v7")
    avo("bench", "ghost@v0", *words).refused(2, "no run 'ghost'")


def recorded_run(runs, device, latency_us):
    """A run "made" whose v0 is on record with a latency in each of nano's configurations."""
    files = {"attention.cpp": PLAIN.encode()}
    rows = tuple(ConfigurationScore(n, True, 0.001, 0.0, latency_us) for n in ("full_64", "causal_64"))
    score = Score("nano", True, "ok", "", device, 1.0, rows, geomean_tflops=0.001, source_hash=intake.hash_of(files))
    score = replace(score, integrity=Integrity(tier="bubblewrap", quiet=False))
    folder = create_run(runs, "nano", "made")
    lineage = Lineage.create(folder.lineage)
    commit = lineage.commit(files, version=0, parent=None, score=score, message="the seed")
    with Journal.create(folder.journal, "made") as journal:
        journal.append(VersionCommitted(0, commit, None, 0, "improved", "", "the seed", score))
    return folder


def test_a_version_that_is_scored_again_is_compared_with_its_record(avo, nano, tmp_path):
    recorded_run(avo.runs, "here", 1.0)
    words = ("--problem", str(nano), "--no-baselines", "--configuration", "full_64")
    said = avo("score", "made@v0", *words)
    assert said.code == 0
    assert "torch_sdpa" not in said.out and "causal_64" not in said.out
    line = r"^recorded   1 GFLOPS, now [0-9.]+x of it \(others used this machine's cores then"
    assert re.search(line, said.out, re.M)
    out = tmp_path / "out"
    assert avo("export", "made", "v0", "-o", str(out)).code == 0
    assert avo("score", str(out), *words, "--json").json["recorded"]["geomean_tflops"] == 0.001, "beside the sources"
    (out / "attention.cpp").write_text(PLAIN + "// changed since\n")
    assert "recorded" not in avo("score", str(out), *words, "--json").json
    (out / "score.json").write_text("[1]")
    assert avo("score", str(out), *words).code == 0, "somebody else's score.json is no record"


def test_a_recorded_version_is_measured_until_it_agrees_or_the_patience_is_up(avo, nano):
    recorded_run(avo.runs, device(threads()), 1e9)
    words = ("--problem", str(nano), "--no-baselines", "--json", "--patience", "3")
    assert 2.5 <= avo("score", "made@v0", *words).json["seconds"] < 30.0


def test_a_version_knows_its_problem_and_a_folder_does_not(avo, nano, tmp_path):
    run = recorded_run(avo.runs, "here", 1.0)
    save(RunConfig("nano", str(nano)), run.config)
    few = ("--configuration", "full_64")
    assert avo("score", "made@v0", "--no-baselines", *few, "--json").json["problem"] == "nano"
    assert avo("bench", "made@best", "made@v0", "--repeats", "1", *few).code == 0
    avo("score", str(nano / "seed")).refused(2, "--problem")
    avo("bench", "made@v0", str(nano / "seed")).refused(2, "which problem", "--problem")
    save(RunConfig("gone", str(tmp_path / "gone")), run.config)
    avo("score", "made@v0").refused(2, "no problem 'gone'")


def test_a_bench_has_the_baselines_that_the_problem_names_and_the_configurations_asked_for(avo, nano, tmp_path):
    problem = tmp_path / "own"
    shutil.copytree(nano, problem)
    reference = problem / "reference.py"
    names = '{"torch_sdpa": _torch_sdpa, "the_same_again": _torch_sdpa}'
    reference.write_text(reference.read_text().replace('{"torch_sdpa": _torch_sdpa}', names))
    words = ("--problem", str(problem), "--repeats", "2", "--configuration", "full_64")
    table = avo("bench", str(nano / "seed"), *words).out.splitlines()
    assert not [line for line in table if "causal_64" in line]
    assert re.search(r"FLOPS\s+\S*seed\s+torch_sdpa\s+the_same_again", table[0])
    assert re.search(r"geomean\s+\S+ ±\s+\S+\s+\S+ ±\s+\S+\s+\S+ ±\s+\S+$", table[2])
    assert re.search(r"ratio\s+\S*seed / torch_sdpa\s+\S*seed / the_same_again", table[4])
    assert len({line.index(" ± ") for line in table[1:3]}) == 1
    assert "2 interleaved repeats" in table[-1]


NAMES = """
import sys
from pathlib import Path
from engine.scorer.problem import load
from engine.scorer.reference import load_module
for problem in sys.argv[1:]:
    print(*load_module(load(Path(problem))).baselines())
"""
CUDA = ("mha_cuda", "gqa_cuda")


@pytest.fixture(scope="module")
def rivals():
    """The baselines of each CUDA problem, by the problem's name."""
    from engine.data import kernels_directory

    words = [sys.executable, "-c", NAMES, *(str(kernels_directory() / problem) for problem in CUDA)]
    lines = subprocess.run(words, capture_output=True, text=True, check=True).stdout.splitlines()
    return {problem: set(line.split()) for problem, line in zip(CUDA, lines, strict=True)}


@pytest.mark.parametrize("problem", CUDA)
def test_the_cuda_problems_name_the_rivals_of_the_paper(rivals, problem):
    assert {"cudnn", "torch_flash"} <= rivals[problem] <= {"cudnn", "torch_flash", "fa4"}


def test_a_wrong_source_fails_the_bench(avo, nano, tmp_path):
    said = avo("bench", spoiled(tmp_path, WRONG), "--problem", str(nano), "--repeats", "2")
    assert said.code == 1
    assert re.search(r"FAILED: check", said.out)


def test_ctrl_c_leaves_no_process_behind(avo, nano, tmp_path):
    source = spoiled(tmp_path, "for (volatile long i = 0;; ++i) {}")
    with avo.popen("score", source, "--problem", str(nano), start_new_session=True) as process:
        scorer = until(lambda: children(process.pid))[0]
        until(lambda: children(scorer))
        os.killpg(process.pid, signal.SIGINT)
        process.communicate(timeout=30)
    assert process.returncode == 130
    until(lambda: not alive(scorer))


def children(pid):
    try:
        return [int(p) for p in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    except OSError:
        return []


def alive(pid):
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def test_doctor_says_on_one_screen_what_there_is_and_what_mends_the_rest(avo):
    said = avo("doctor")
    assert len(said.out.splitlines()) <= 24
    for words in ("python", "compiler", "git", "sandbox", "kernel", "cgroups", "gpu", "runs", "model key", "terminal"):
        assert words in said.out
    assert "ready for gqa_cpu, mha_cpu" in said.out.splitlines()[0]
    findings = {f["what"]: f for f in avo("doctor", "--json").json["findings"]}
    assert findings["compiler"]["state"] == "ok"
    assert findings["model key"]["state"] == "note"
    assert re.search(r"held off (\d+) of \1 attacks", findings["sandbox"]["found"])
    assert findings["sandbox"]["parts"]["parent-environment"] is True
    assert "parent-environment" in said.out
    missing = avo("doctor", "--json", env={"PATH": "/nowhere"})
    assert missing.code == 1
    broken = {f["what"]: f for f in json.loads(missing.out)["findings"]}
    assert broken["git"]["mend"] == "apt install git"
    assert json.loads(missing.out)["able"]["mha_cpu"].startswith("compiler: no c++")
