"""A profile tells what the compiler did and how far from the peak each configuration is; facts, not guesses."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from served import SMALL, Scorer

from engine.scorer import hotspots, remarks
from engine.scorer.assembly import parse, short_name
from engine.scorer.counters import HARDWARE, Place, Watch
from engine.scorer.text import clean, one_line

HONEST = Path(__file__).parent / "honest"

LISTING = """
x.so:     file format elf64-x86-64

Disassembly of section .text:

0000000000001000 <outer>:
outer():
/build/in/attention.cpp:7 (discriminator 3)
    1000:	xor    %eax,%eax
    1002:	vmovaps (%rdi),%zmm0
    1008:	vfmadd231ps (%rsi),%zmm0,%zmm1
    100e:	vmulps %zmm1,%zmm1,%zmm2
/usr/include/c++/12/cmath:99
    1014:	vmovups %zmm2,0x40(%rsp)
    101a:	add    $0x40,%rdi
    101e:	cmp    %rdx,%rdi
    1021:	jne    1002 <outer+0x2>
    1023:	addss  %xmm0,%xmm1
    1027:	call   900 <expf@plt>
    102c:	jne    1000 <outer>
    1030:	ret
    1031:	vgatherdps (%rax,%zmm1,4),%zmm2{%k1}

0000000000002000 <void (anonymous namespace)::block<4, 4>(float const*, unsigned long) [clone .constprop.0]>:
    2000:	vmovups 0x40(%rbp,%rax,1),%zmm1
    2008:	vfmadd231ps (%rsi),%zmm0,%zmm1
    2010:	jne    2000 <void (anonymous namespace)::block<4, 4>(float const*, unsigned long) [clone .constprop.0]>
    2016:	ret
"""

REMARKS = """\
attention.cpp:7:19: optimized: loop vectorized using 64 byte vectors
attention.cpp:7:19: optimized:  loop versioned for vectorization because of possible aliasing
attention.cpp:7:19: optimized: loop vectorized using 32 byte vectors
attention.cpp:9:3: missed: couldn't vectorize loop
attention.cpp:9:3: missed: couldn't vectorize loop
attention.cpp:9:3: missed: not vectorized: control flow in loop.
attention.cpp:12:5: missed: couldn't vectorize loop
attention.cpp:12:9: missed: statement clobbers memory: expf (_3);
/usr/include/c++/12/cmath:99:3: missed: couldn't vectorize loop
other.h:3:5: remark: vectorized loop (vectorization width: 8, interleaved count: 4) [-Rpass=loop-vectorize]
"""


def test_a_profile_has_facts_and_a_text_to_read(scorer: Scorer):
    found = scorer.ask(op="profile", source=HONEST / "tiled.cpp", problem=SMALL)
    facts = found["facts"]
    for name in ("machine.cores", "machine.peak_gflops", "score.roofline_fraction", "score.causal_over_full"):
        assert facts[name] > 0
    assert facts["machine.avx2"] in (True, False)
    assert 0 < facts["score.roofline_fraction"] < 1
    assert all(isinstance(v, (int, float, bool, str)) for v in facts.values())
    for words in ("GFLOPS (float32 FMA)", "compiler", "flags", "roofline", "full_256", "causal_512"):
        assert words in found["text"]
    assert "tiled.cpp" in found["log"]


@pytest.mark.parametrize("confined", ["scorer", "landlock_scorer"])
def test_a_profile_says_which_loop_runs_hot_by_samples_or_why_it_cannot(confined: str, request):
    scorer: Scorer = request.getfixturevalue(confined)
    found = scorer.ask(op="profile", source=HONEST / "tiled.cpp", problem=SMALL)
    text, facts = found["text"], found["facts"]
    assert "where the time goes" in text
    if "no disassembly" in text:
        assert "the candidate's own code" in text or "not sampled" in text
        return
    assert "tiled.cpp:" in text.split("loop 1", 1)[1].splitlines()[0]
    assert ("profile.hot_share" in facts) != ("a guess" in text)
    assert 0.02 < facts.get("profile.hot_share", 1.0) <= 1.0


def test_hardware_counters_are_figures_or_a_reason_and_never_a_zero(scorer: Scorer):
    found = scorer.ask(op="profile", source=HONEST / "naive.cpp", problem=SMALL)
    counted = [name for name in found["facts"] if name.endswith("_per_1000") or name.endswith("_per_cycle")]
    assert bool(counted) != ("hardware counters: none:" in found["text"])
    assert found["facts"].get("profile.instructions_per_cycle", 1.0) > 0


@pytest.fixture
def busy() -> Iterator[Watch]:
    """A process that has computed in a thread of its own, watched since before that thread was born."""
    code = (
        "import sys, threading\n"
        "sys.stdin.readline()\n"
        "thread = threading.Thread(target=lambda: sum(range(4 * 10**6))); thread.start(); thread.join()\n"
        "print(1, flush=True); sys.stdin.readline()\n"
    )
    process = subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stdin is not None and process.stdout is not None
    with process, Watch(process.pid) as watch:
        process.stdin.write("\n")
        process.stdin.flush()
        process.stdout.readline()
        yield watch
        process.kill()


def test_a_watch_counts_threads_that_are_born_later(busy: Watch):
    counts = busy.counts()
    if "processor_ns" not in counts:
        pytest.skip(f"this machine lets nobody count: {busy.unsampled}")
    assert counts["processor_ns"] > 20e6
    assert any(name in counts for name in HARDWARE) != bool(busy.absent)
    if not busy.unsampled:
        assert any("python" in place.file for place in busy.places())


def test_what_cannot_be_watched_gives_its_reason():
    with Watch(2**22 + 1) as nobody:
        assert nobody.absent and nobody.unsampled
        assert nobody.counts() == {} and nobody.places() == []


def test_a_candidate_that_fails_still_leaves_the_machines_facts(scorer: Scorer, candidate):
    found = scorer.ask(op="profile", source=candidate("int broken("), problem=SMALL)
    assert found["facts"]["profile.failed"] == "build"
    assert found["facts"]["machine.cores"] >= 1
    assert found["text"].startswith("no profile:")


def test_the_hot_loop_is_the_innermost_with_most_work():
    listing = parse(LISTING)
    assert [loop.name for loop in listing.loops] == ["outer", "block<4, 4>"]
    loop, other = listing.loops
    assert (loop.symbol, loop.vector_bits, loop.arithmetic, loop.spills) == ("outer", 512, 2, 1)
    assert loop.fma_share == 0.5
    assert [i.source for i in loop.body[:4]] == [*["attention.cpp:7"] * 3, "cmath:99"]
    assert other.spills == 0, "%rbp is a register like others where no frame is kept in it"
    assert listing.gathers == 1
    assert listing.calls == {"expf": 1}


def test_samples_decide_which_loop_is_hot():
    listing = parse(LISTING)
    places = [Place("candidate.so", 0x2008)] * 70 + [Place("candidate-00ff.so", 0x1008)] * 20
    places += [Place("libm.so.6", 5)] * 6 + [Place("candidate.so", 0x2016)] * 4
    found = hotspots.spots(listing, places)
    assert [(spot.name, spot.share) for spot in found][:2] == [("block<4, 4>", 0.7), ("outer", 0.2)]
    text = "\n".join(hotspots.text(found, len(places), "cycles", ""))
    assert " 70.0%  loop 1: block<4, 4>" in text and " 70.0%  vfmadd231ps" in text
    assert "6.0%  libm.so.6 (exp" in text and "4.0%  block<4, 4>, outside its innermost loops" in text


def test_without_samples_the_order_is_called_a_guess():
    found = hotspots.spots(parse(LISTING), [])
    assert [spot.share for spot in found] == [None, None]
    assert "not sampled (no room); the loops below are in order of their arithmetic, a guess" in "\n".join(
        hotspots.text(found, 0, "cycles", "no room")
    )


def test_what_a_compiler_says_is_parted_from_its_remarks_as_it_comes():
    sieve = remarks.Sieve()
    first = (
        "k.cpp:3:1: optimized: loop vectorized\n scalar_type: float\nk.cpp:9:2: warning: unused 'x'\n    9 | int x;\n"
    )
    assert sieve(first) == "k.cpp:9:2: warning: unused 'x'\n    9 | int x;\n"
    assert sieve("      |     ^\n") == "      |     ^\n"
    assert sieve("k.cpp:4:1: missed: not vectorized\n") == ""
    assert sieve(" more of it\n") == ""
    assert sieve.remarks == (
        "k.cpp:3:1: optimized: loop vectorized\n scalar_type: float\nk.cpp:4:1: missed: not vectorized\n more of it\n"
    )


def test_a_build_log_has_the_warnings_and_a_profile_the_remarks(scorer, candidate):
    source = candidate((HONEST / "tiled.cpp").read_text() + "\n#warning look-here\n")
    log = scorer.score(source)["log"]
    assert "look-here" in log and "optimized:" not in log and "missed:" not in log
    profile = scorer.ask(op="profile", source=source, problem=SMALL, configurations=["full_128"])
    assert "look-here" in profile["log"] and "optimized: " in profile["log"]


def test_a_name_is_told_without_its_types():
    assert short_name("(anonymous namespace)::softmax_tile(int) [clone .constprop.0]") == "softmax_tile"
    assert short_name("attention_forward [clone ._omp_fn.0]") == "attention_forward (parallel region)"
    assert short_name("std::vector<float, std::allocator<float> >::size() const").endswith("::size")


def test_remarks_are_told_once_for_each_line_hot_ones_first_and_capped():
    told = remarks.read(REMARKS, ("attention.cpp", "other.h"))
    assert [r.place for r in told] == ["attention.cpp:7", "attention.cpp:9", "attention.cpp:12", "other.h:3"]
    text = remarks.text(told, {"attention.cpp:9": False})
    assert text[0] == "the compiler's remarks on vectorisation (2 of 4 lines vectorised; 1 more in the log)"
    assert text[1].split() == ["hot", "attention.cpp:9", "NOT:", "control", "flow", "in", "loop"]
    assert "vectorised, 64 and 32 byte vectors" in text[2] + text[3]
    many = "".join(f"attention.cpp:{n}:1: missed: not vectorized: control flow in loop.\n" for n in range(1, 200))
    assert len(remarks.text(remarks.read(many, ("attention.cpp",)), {})) == remarks.SHOWN + 1


def test_text_from_a_candidate_is_cleaned_and_capped():
    assert clean("a\x1b[31mred\x1b[0m\x07\u202eb\r\nc\td") == "aredb\nc\td"
    assert clean(b"\xff\xfeok") == "\ufffd\ufffdok"
    long = clean("x" * 500_000, 1000)
    assert len(long) < 1100 and "characters left out" in long
    assert one_line("note: this\nfile.cpp:3: error: that\nmore") == "file.cpp:3: error: that"
    assert len(one_line("error " + "y" * 5000)) <= 300
