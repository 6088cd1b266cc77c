"""A profile tells what the compiler did and how far from the peak each configuration is; facts, not guesses."""

from __future__ import annotations

from pathlib import Path

from served import SMALL, Scorer

from engine.scorer.assembly import parse
from engine.scorer.text import clean, one_line

HONEST = Path(__file__).parent / "honest"

LISTING = """
x.so:     file format elf64-x86-64

Disassembly of section .text:

0000000000001000 <outer>:
    1000:	xor    %eax,%eax
    1002:	vmovaps (%rdi),%zmm0
    1008:	vfmadd231ps (%rsi),%zmm0,%zmm1
    100e:	vmulps %zmm1,%zmm1,%zmm2
    1014:	vmovups %zmm2,0x40(%rsp)
    101a:	add    $0x40,%rdi
    101e:	cmp    %rdx,%rdi
    1021:	jne    1002 <outer+0x2>
    1023:	addss  %xmm0,%xmm1
    1027:	call   900 <expf@plt>
    102c:	jne    1000 <outer>
    1030:	ret
    1031:	vgatherdps (%rax,%zmm1,4),%zmm2{%k1}
"""


def test_a_profile_has_facts_and_a_text_to_read(scorer: Scorer):
    found = scorer.ask(op="profile", source=HONEST / "tiled.cpp", problem=SMALL)
    facts = found["facts"]
    for name in ("machine.cores", "machine.peak_gflops", "score.roofline_fraction", "score.causal_over_full"):
        assert facts[name] > 0
    assert facts["machine.avx2"] in (True, False)
    assert 0 < facts["score.roofline_fraction"] < 1
    assert all(isinstance(v, (int, float, bool, str)) for v in facts.values())
    for words in ("peak", "compiler", "flags", "full_256", "causal_512"):
        assert words in found["text"]
    assert "tiled.cpp" in found["log"]


def test_a_candidate_that_fails_still_leaves_the_machines_facts(scorer: Scorer, candidate):
    found = scorer.ask(op="profile", source=candidate("int broken("), problem=SMALL)
    assert found["facts"]["profile.failed"] == "build"
    assert found["facts"]["machine.cores"] >= 1
    assert found["text"].startswith("no profile:")


def test_the_hot_loop_is_the_innermost_with_most_work():
    listing = parse(LISTING)
    assert len(listing.loops) == 1
    loop = listing.loops[0]
    assert (loop.symbol, loop.vector_bits, loop.arithmetic, loop.spills) == ("outer", 512, 2, 1)
    assert loop.fma_share == 0.5
    assert listing.gathers == 1
    assert listing.calls == {"expf": 1}


def test_text_from_a_candidate_is_cleaned_and_capped():
    assert clean("a\x1b[31mred\x1b[0m\x07\u202eb\r\nc\td") == "aredb\nc\td"
    assert clean(b"\xff\xfeok") == "\ufffd\ufffdok"
    long = clean("x" * 500_000, 1000)
    assert len(long) < 1100 and "characters left out" in long
    assert one_line("note: this\nfile.cpp:3: error: that\nmore") == "file.cpp:3: error: that"
    assert len(one_line("error " + "y" * 5000)) <= 300
