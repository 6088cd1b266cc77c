"""One candidate in, one score out: the contract of `avo score --json`, and what becomes of every kind of failure."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from served import KERNELS, ROOT, SMALL, Scorer, ScorerFailed, failed_checks

from engine.record.scores import Score

HONEST = Path(__file__).parent / "honest"
HEAD = 'extern "C" void attention_forward(const float* q, const float* k, const float* v, float* o, int b, int hq, int hk, int s, int d, int c, float x)'


def test_a_score_has_the_fields_of_the_contract(scorer: Scorer):
    score = scorer.score(HONEST / "tiled.cpp", suite="full", baselines=True)
    for key in ("problem", "correct", "stage", "reason", "geomean_tflops", "device", "seconds", "configurations"):
        assert key in score
    assert (score["correct"], score["stage"], score["reason"], score["suite"]) == (True, "ok", "", "full")
    assert [c["name"] for c in score["configurations"]] == ["full_128", "full_256", "causal_256", "causal_512"]
    for c in score["configurations"]:
        assert c["correct"] and c["reason"] == ""
        assert c["tflops"] > 0
        assert c["tflops_std"] is None or c["tflops_std"] >= 0  # None where a busy machine left time for one call
        assert 0 < c["relative_error"] < 1e-4
    assert [c["name"] for c in score["baselines"]["torch_sdpa"]] == [c["name"] for c in score["configurations"]]
    assert json.loads(json.dumps(Score.from_json(score).to_json())) == score


def test_throughput_is_work_over_latency_and_causal_work_is_half(scorer: Scorer):
    for c in scorer.score(HONEST / "tiled.cpp")["configurations"]:
        flops = 4 * 2 * 4 * 256**2 * 64 / (2 if c["name"].startswith("causal") else 1)
        assert c["tflops"] == pytest.approx(flops / (c["latency_us"] * 1e6))


def test_the_score_says_what_stands_behind_it(scorer: Scorer):
    integrity = scorer.score(HONEST / "openmp_online.cpp")["integrity"]
    names = [c["name"] for c in integrity["checks"]]
    for name in (
        "intake",
        "sandbox",
        "build",
        "inputs",
        "early-sample",
        "guards",
        "finite",
        "error",
        "holdouts",
        "physics",
    ):
        assert name in names
    margins = {c["name"]: c["margin"] for c in integrity["checks"]}
    assert 0 < margins["error"] < 1
    assert 0 < margins["physics"] < 1
    assert integrity["calls"] >= 12
    assert integrity["tier"] and not integrity["unsafe"]
    assert integrity["quiet"] in (True, False, None)


@pytest.mark.parametrize("problem", ["mha_cpu", "gqa_cpu"])
def test_the_seed_of_every_cpu_problem_is_correct(scorer: Scorer, problem: str):
    score = scorer.score(KERNELS / problem / "seed", problem=KERNELS / problem, configurations=["full_256"])
    assert score["correct"], score["reason"]


def test_a_kernel_that_is_wrong_in_one_head_gets_no_figure_at_all(scorer: Scorer, candidate):
    text = (HONEST / "tiled.cpp").read_text()
    wrong = text.replace("sum[x] * scale;", "sum[x] * scale * (h == 2 ? 1.01f : 1.0f);")
    assert wrong != text
    score = scorer.score(candidate(wrong), suite="full")
    assert (score["correct"], score["stage"], score["geomean_tflops"]) == (False, "check", None)
    assert "head 2" in score["reason"] and "1 of 4 heads" in score["reason"]
    assert all(c["tflops"] is None for c in score["configurations"])
    assert failed_checks(score) == ["error"]


@pytest.mark.parametrize(
    ("text", "stage", "words"),
    [
        ("int broken(", "build", "error"),
        ("void attention_forward() {}\n", "build", "exports no attention_forward"),
        (HEAD + ";\nvoid missing();\n" + HEAD + " { missing(); }\n", "build", "does not load"),
        (HEAD + " { *(volatile int*)8 = 1; }\n", "crash", "SIGSEGV"),
        ("#include <cstdlib>\n" + HEAD + " { std::abort(); }\n", "crash", "SIGABRT"),
        ("#include <stdexcept>\n" + HEAD + ' { throw std::runtime_error("no"); }\n', "crash", "SIGABRT"),
        (HEAD + " { for (volatile int i = 0;; ++i) {} }\n", "timeout", "longer than 1 s"),
        (HEAD + " { for (long i = 0; i < (long)b * hq * s * d; ++i) o[i] = 0.0f / 0.0f; }\n", "check", "not a finite"),
        (HEAD + " { for (long i = 0; i < (long)b * hq * s * d; ++i) o[i] = 0.5f; }\n", "check", "relative error"),
        (HEAD + " {}\n", "check", "never written"),
    ],
    ids=["syntax", "mangled", "undefined", "segfault", "abort", "throw", "hang", "nan", "garbage", "nothing"],
)
def test_a_failure_has_its_stage_and_one_line_of_reason(scorer: Scorer, candidate, text: str, stage: str, words: str):
    score = scorer.score(candidate(text), call_timeout_s=1.0)
    assert (score["correct"], score["stage"], score["geomean_tflops"]) == (False, stage, None)
    assert words in score["reason"]
    assert "\n" not in score["reason"]
    assert len(failed_checks(score)) == 1


def test_checks_that_were_not_reached_are_not_called_passed(scorer: Scorer, candidate):
    folder = candidate('extern "C" void attention_forward() { __builtin_trap(); }')
    checks = scorer.score(folder)["integrity"]["checks"]
    assert [(c["name"], c["passed"]) for c in checks] == [
        ("intake", True), ("sandbox", True), ("build", True), ("worker", False),
    ]  # fmt: skip


def test_a_source_that_is_missing_is_the_candidates_failure(scorer: Scorer, tmp_path: Path):
    assert scorer.score(tmp_path / "missing")["stage"] == "build"


def test_what_a_crashing_candidate_printed_is_kept_and_cleaned(scorer: Scorer, candidate):
    text = f'#include <cstdio>\n#include <cstdlib>\n{HEAD} {{ std::fprintf(stderr, "assert\\033[2J failed\\n"); std::abort(); }}\n'
    assert "assert failed" in scorer.score(candidate(text))["log"]


def test_progress_is_told_while_the_work_goes_on(scorer: Scorer):
    scorer.score(HONEST / "naive.cpp")
    progress = [e for e in scorer.events if e["event"] == "progress"]
    assert [e["phase"] for e in progress][:3] == ["build", "build", "check"]
    assert {e["configuration"] for e in progress} == {None, "full_256", "causal_256"}
    assert progress[-1]["done"] == progress[-1]["of"] == 2


def test_a_build_is_reused_for_the_same_source_and_flags_only(scorer: Scorer, candidate):
    text = (HONEST / "naive.cpp").read_text() + "// once\n"
    first, second = scorer.score(candidate(text)), scorer.score(candidate(text))
    assert first["build_seconds"] > 0 and second["build_seconds"] == 0
    assert scorer.score(candidate(text, flags__txt="-O3"))["build_seconds"] > 0


def test_only_the_configurations_asked_for_are_scored(scorer: Scorer):
    score = scorer.score(HONEST / "naive.cpp", configurations=["full_128"])
    assert [c["name"] for c in score["configurations"]] == ["full_128"]
    with pytest.raises(ScorerFailed, match="no configuration 'full_9'"):
        scorer.score(HONEST / "naive.cpp", configurations=["full_9"])


def test_a_request_that_cannot_be_served_is_our_error_and_the_server_lives_on(scorer: Scorer, tmp_path: Path):
    for request, words in (
        ({"op": "dance"}, "unknown op"),
        ({"op": "score", "problem": str(SMALL)}, "no 'source'"),
        ({"op": "score", "source": "x", "problem": str(tmp_path)}, r"problem\.toml"),
        ({"op": "score", "source": "x", "problem": str(SMALL), "suite": "huge"}, "suite"),
    ):
        with pytest.raises(ScorerFailed, match=words):
            scorer.ask(**request)
    assert scorer.score(HONEST / "naive.cpp")["correct"]


def test_one_shot_prints_one_json_value_and_its_status_says_whether_it_is_correct(candidate):
    def run(request: object) -> subprocess.CompletedProcess[str]:
        argv = [sys.executable, "-m", "engine.scorer"]
        return subprocess.run(argv, cwd=ROOT, input=json.dumps(request), capture_output=True, text=True, timeout=60)

    good = run({"source": str(HONEST / "naive.cpp"), "problem": str(SMALL), "suite": "quick"})
    assert (good.returncode, json.loads(good.stdout)["correct"]) == (0, True)
    bad = run({"source": str(candidate(HEAD + " {}\n")), "problem": str(SMALL), "suite": "quick"})
    assert (bad.returncode, json.loads(bad.stdout)["stage"]) == (1, "check")
    wrong = run({"source": "x", "problem": "/nowhere"})
    assert wrong.returncode == 2 and wrong.stdout == "" and wrong.stderr.count("\n") == 1


def test_a_full_disk_is_told_as_ours_and_not_as_the_candidates_failure(tmp_path: Path):
    cache = tmp_path / "cache"
    cache.mkdir()
    if os.geteuid() != 0 or subprocess.run(["mount", "-t", "tmpfs", "-o", "size=2m", "none", cache]).returncode:
        pytest.skip("needs root and mount, to make a full disk")
    try:
        request = {"source": str(ROOT / "kernels/mha_cpu/seed"), "problem": str(ROOT / "kernels/mha_cpu")}
        done = subprocess.run(
            [sys.executable, "-m", "engine.scorer"], input=json.dumps(request), cwd=ROOT, capture_output=True,
            text=True, timeout=60, env={**os.environ, "AVO_CACHE": str(cache)},
        )  # fmt: skip
    finally:
        subprocess.run(["umount", cache], check=True)
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr.strip().splitlines()[-1].startswith(f"engine.scorer: {cache}: ")
    assert "a build needs 64; free some space" in done.stderr
