"""The pages that the playbooks send their operator to: each one is shipped, and each shipped page is found by its words."""

from __future__ import annotations

import tomllib
from pathlib import Path

import pytest

from engine import knowledge

KERNELS = Path(__file__).resolve().parents[2] / "kernels"


def named_pages() -> dict[str, list[str]]:
    """Page id -> the directions that name it, over every playbook below kernels/."""
    named: dict[str, list[str]] = {}
    for path in sorted(KERNELS.glob("*/playbook/**/*.toml")):
        for page in tomllib.loads(path.read_text()).get("knowledge", []):
            named.setdefault(page, []).append(str(path.relative_to(KERNELS)))
    return named


@pytest.fixture
def shipped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    opened = knowledge.shipped()
    yield opened
    opened.close()


def test_every_page_that_a_direction_names_is_shipped(shipped: knowledge.Knowledge):
    ids = {page.id for page in shipped.pages()}
    named = named_pages()
    assert len(named) >= 10, "the directions name their pages"
    assert {page: where for page, where in named.items() if page not in ids} == {}


def test_every_named_page_can_be_read_and_has_its_figures(shipped: knowledge.Knowledge):
    for page in named_pages():
        text = shipped.read(page).text
        assert text.count("\n") >= 40, f"{page} is a stub"
        assert any(c.isdigit() for c in text), f"{page} has no figures"


@pytest.mark.parametrize(
    ("words", "page"),
    [
        ("how often does a row of 2048 keys rescale", "online-softmax"),
        ("exp polynomial degree error", "exp-approximations"),
        ("dynamic schedule heavy tiles first", "openmp-schedules"),
        ("interleaved pairs on a noisy machine", "measuring-on-noisy-machines"),
        ("register blocks of rows by vectors in the inner loop", "register-blocking"),
        ("grouped query heads share keys", "grouped-queries"),
    ],
)
def test_a_topic_is_found_by_its_words(shipped: knowledge.Knowledge, words: str, page: str):
    assert page in [hit.page for hit in shipped.search(words)][:3]


def test_the_page_on_defence_counts_what_the_tests_hold(shipped: knowledge.Knowledge):
    here = Path(__file__).resolve().parents[1] / "scorer"
    first_lines = [p.read_text("utf-8").partition("\n")[0] for p in (here / "cheats").glob("*.cpp")]
    legitimate = sum("legitimate" in line for line in first_lines)
    page = next(p for p in shipped.pages() if p.id == "how-scores-are-defended")
    assert f"of {len(first_lines) - legitimate} cheats" in page.claim
    words = {5: "five", 6: "six", 7: "seven", 8: "eight"}
    honest = len(list((here / "honest").glob("*.cpp"))) + legitimate
    assert f"{words[honest]} honest kernels" in page.path.read_text("utf-8")


TOPICS = {
    "Hopper execution and memory model": ("wgmma registers shared memory of one SM on Hopper", "hopper-execution"),
    "Blackwell execution and memory model": ("Blackwell tensor memory execution", "blackwell-execution"),
    "wgmma": ("wgmma accumulator layout descriptor", "hopper-wgmma"),
    "tcgen05": ("tcgen05 mma tensor memory", "blackwell-tcgen05"),
    "TMA and mbarrier": ("TMA mbarrier phase expect_tx", "hopper-tma-mbarrier"),
    "warp specialisation": ("producer consumer warpgroup setmaxnreg", "hopper-warp-specialisation"),
    "register budgets": ("register budget spill 240 registers", "hopper-register-budget"),
    "online softmax rescaling": ("rescale running maximum GPU online softmax", "gpu-online-softmax"),
    "FlashAttention 2, 3 and 4": ("FlashAttention-2 FlashAttention-3 FlashAttention-4 ideas", "gpu-flash-attention"),
    "cuDNN's known behaviour": ("cuDNN behaviour attention H200", "hopper-rivals"),
    "ncu metrics": ("ncu metrics and what they mean", "gpu-ncu-metrics"),
    "PTX and SASS": ("reading PTX and SASS", "gpu-ptx-sass"),
    "causal scheduling": ("causal scheduling heavy tiles first GPU", "gpu-causal-scheduling"),
    "numerics in bf16": ("bf16 numerics error P rounding", "gpu-bf16-numerics"),
}


@pytest.mark.parametrize("topic", TOPICS)
def test_every_gpu_topic_has_a_page_with_its_claim_evidence_source_date_and_hardware(
    topic: str, shipped: knowledge.Knowledge
):
    words, name = TOPICS[topic]
    page = next(p for p in shipped.pages() if p.id == name)
    assert page.claim and page.source and page.date and page.hardware
    assert "\nevidence = " in page.path.read_text("utf-8")
    assert name in [hit.page for hit in shipped.search(words)][:3]
