"""What is read from nvcc's words and from machine code, and the CUDA problems' files: no device is needed."""

import shutil

import pytest

from engine.data import kernels_directory
from engine.scorer import problem
from engine.scorer.cuda.code import classify, code_facts, code_text, ptxas_report, short_name
from engine.scorer.cuda.loops import loops_text, matrix_loops

KERNEL = "_ZN45_GLOBAL__N__ffea55dd_12_attention_cu_ec23ad5f16attention_kernelILb1EEEv14CUtensorMap_st"
LOG = f"""ptxas info    : 0 bytes gmem
ptxas info    : Compiling entry function '{KERNEL}' for 'sm_90a'
ptxas info    : Function properties for {KERNEL}
    16 bytes stack frame, 24 bytes spill stores, 40 bytes spill loads
ptxas info    : Used 168 registers, used 16 barriers, 4096 bytes smem
ptxas info    : Compiling entry function 'plain' for 'sm_90a'
ptxas info    : Function properties for plain
    0 bytes stack frame, 0 bytes spill stores, 0 bytes spill loads
ptxas info    : Used 40 registers
"""
SASS = """
        Function : attention_kernel
        .headerflags    @"EF_CUDA_SM90"
        /*0000*/                   LDC R1, c[0x0][0x28] ;                       /* 0x00000a00ff017b82 */
                                                                                /* 0x000fe20000000800 */
        /*0010*/              @!P0 BRA `(.L_x_1) ;                              /* 0x0000000000008947 */
        /*0020*/                   HGMMA.64x128x16.F32.BF16 R24, gdesc[UR4], !UPT ;
        /*0030*/               @P1 HMMA.16816.F32.BF16 R4, R8, R10, R4 ;
        /*0040*/                   MUFU.EX2 R5, R5 ;
        /*0050*/             @!UP0 UTMALDG.4D [UR8], [UR6] ;
        /*0060*/                   LDL R2, [R1] ;
        /*0070*/                   STL.64 [R1], R2 ;
        /*0080*/                   FFMA R0, R1, R2, R3 ;
        /*10090*/                  BAR.SYNC.DEFER_BLOCKING 0x0 ;
"""


def test_the_report_of_ptxas_is_read_for_each_kernel():
    report = ptxas_report(LOG)
    assert report[KERNEL] == {"registers": 168, "shared_bytes": 4096, "spill_bytes": 64}
    assert report["plain"] == {"registers": 40, "shared_bytes": 0, "spill_bytes": 0}
    assert ptxas_report("") == {}
    assert ptxas_report("nvcc warning: Used 3 registers") == {}


def test_machine_instructions_are_told_apart_by_what_they_are_for():
    mix = classify(SASS)
    assert mix == {
        "wgmma": 1, "tensor_core": 1, "special_function": 1, "global": 1, "spill": 2, "fma": 1, "sync": 1, "other": 2,
    }  # fmt: skip
    assert classify("no listing at all") == {}


def test_facts_tell_wgmma_from_the_older_matrix_instruction():
    facts = code_facts(ptxas_report(LOG), classify(SASS))
    assert facts["profile.registers"] == 168
    assert facts["profile.spills"] == 64
    assert facts["profile.wgmma"] is True
    assert facts["profile.tensor_core_share"] == 0.2
    older = code_facts({}, classify("        /*0030*/   HMMA.16816.F32.BF16 R4, R8, R10, R4 ;"))
    assert older["profile.wgmma"] is False
    assert older["profile.tensor_core_share"] == 1.0
    assert code_facts({}, None) == {}


LOOP = f"""
        Function : {KERNEL}
        /*0000*/                   MOV R1, R2 ;                          /* 0x000 */
        /*0010*/                   SYNCS.PHASECHK.TRANS64.TRYWAIT P0, [UR7+0x30] ;
        /*0020*/              @!P0 BRA 0x10 ;
        /*0030*/                   WARPGROUP.ARRIVE ;
        /*0040*/                   HGMMA.64x128x16.F32.BF16 R24, gdesc[UR4], !UPT ;
        /*0050*/                   HGMMA.64x128x16.F32.BF16 R24, gdesc[UR8], R24 ;
        /*0060*/                   WARPGROUP.DEPBAR.LE gsb0, 0x1 ;
        /*0070*/                   MUFU.EX2 R5, R5 ;
        /*0080*/                   FFMA R5, R5, R6, R7 ;
        /*0090*/                   MUFU.EX2 R6, R6 ;
        /*00a0*/                   F2FP.BF16.F32.PACK_AB R5, R6, R5 ;
        /*00b0*/                   STL [R1], R5 ;
        /*00c0*/               @P1 BRA 0x30 ;
        /*00d0*/                   EXIT ;
        /*00e0*/                   SYNCS.PHASECHK.TRANS64.TRYWAIT P0, [UR7+0x30] ;
        /*00f0*/                   BRA 0x10 ;
"""


def test_the_loops_of_matrix_instructions_are_told_by_the_order_of_waits_and_exponentials():
    [loop] = matrix_loops(LOOP)
    assert (loop.matrix, len(loop.body)) == (2, 10)
    assert loop.order() == ["arrive", "HGMMA x2", "WAIT until 1 left", "2 exp2, 1 pack, 1 SPILL"]
    text = "\n".join(loops_text([loop]))
    assert "attention_kernel<1>: 10 instructions, 0.2 KiB: 2 HGMMA, 2 exp2," in text
    assert "arrive | HGMMA x2 | WAIT until 1 left | 2 exp2, 1 pack, 1 SPILL" in text


def test_what_waits_behind_the_exit_is_no_loop_and_no_loop_is_said_to_be_none():
    assert matrix_loops(LOOP.replace("@P1 BRA 0x30", "@P1 BRA 0xd0")) == []
    assert matrix_loops("no listing at all") == []
    assert loops_text([]) == ["no loop with matrix instructions in the machine code"]


def test_a_kernel_is_called_by_its_own_name():
    assert short_name(KERNEL) == "attention_kernel<1>"
    assert short_name("_Z6kernelPf") == "kernel"
    assert short_name("_Z6kernelILi128ELin2EEvPf") == "kernel<128, -2>"
    assert short_name("plain") == "plain"
    assert "attention_kernel<1>" in "\n".join(code_text(ptxas_report(LOG), None))


@pytest.mark.parametrize("name", ["mha_cuda", "gqa_cuda"])
def test_the_cuda_problems_are_the_papers(name):
    found = problem.load(kernels_directory() / name)
    assert (found.language, found.device, found.dtype) == ("cuda", "cuda", "bfloat16")
    assert all(c.batch * c.seqlen == 32768 and c.head_dim == 128 for c in found.configurations)
    assert {c.seqlen for c in found.configurations} == {4096, 8192, 16384, 32768}
    assert {c.causal for c in found.configurations} == {True, False}
    groups = {c.heads_q // c.heads_kv for c in found.configurations}
    assert groups == ({1} if name == "mha_cuda" else {4, 8})
    assert {h.seqlen % 64 for h in found.holdouts} - {0}, "odd lengths are asked for"
    assert 1 in {h.seqlen for h in found.holdouts}
    assert len(found.suite("quick")) < len(found.suite("full"))


@pytest.mark.filterwarnings("ignore:Failed to initialize NumPy")
def test_a_block_holds_as_many_calls_as_its_shape_says_and_a_holdout_one():
    from engine.scorer.cuda.arena import MAX_CALLS, calls_of

    found = problem.load(kernels_directory() / "mha_cuda")
    counts = {c.name: calls_of(c) for c in found.configurations}
    assert all(1 <= n <= MAX_CALLS for n in counts.values())
    assert counts["causal_4096"] == MAX_CALLS
    assert counts["causal_4096"] > counts["full_32768"] >= 1
    assert [calls_of(c) for c in found.configurations] == list(counts.values()), "never by a measured time"
    assert {calls_of(h) for h in found.holdouts} == {1}


@pytest.mark.filterwarnings("ignore:Failed to initialize NumPy")
def test_a_block_is_long_against_a_round_trip():
    from engine.scorer.cuda.arena import calls_of

    found = problem.load(kernels_directory() / "mha_cuda")
    fastest_flops_per_s = 1e15
    assert all(calls_of(c) * c.flops / fastest_flops_per_s > 20 * 105e-6 for c in found.configurations)


needs_nvcc = pytest.mark.skipif(shutil.which("nvcc") is None, reason="nvcc is not on this machine")


@needs_nvcc
@pytest.mark.parametrize(
    "architecture", [pytest.param("80", marks=pytest.mark.soak), pytest.param("90a", marks=pytest.mark.soak), "sm_100a"]
)
def test_the_seed_builds_for_every_generation_without_a_device(scorer, architecture):
    folder = kernels_directory() / "mha_cuda"
    made = scorer.ask(op="build", source=folder / "seed", problem=folder, architecture=architecture)
    assert made["built"], made["log"]
    assert made["machine"] == f"sm_{architecture.removeprefix('sm_')}"
    assert 0 < made["facts"]["profile.registers"] <= 255
    assert made["facts"]["profile.spills"] == 0
    assert "attention_kernel" in made["text"]


@needs_nvcc
def test_a_kernel_that_does_not_build_says_where(scorer, tmp_path):
    (tmp_path / "attention.cu").write_text('extern "C" void attention_forward() { no_such_thing(); }\n')
    made = scorer.ask(op="build", source=tmp_path, problem=kernels_directory() / "mha_cuda", architecture="90a")
    assert not made["built"]
    assert made["stage"] == "build"
    assert "no_such_thing" in made["reason"]


@needs_nvcc
@pytest.mark.parametrize("architecture", ["nine", "90 -o /etc/passwd", "9000"])
def test_an_architecture_that_is_none_is_refused(scorer, architecture):
    folder = kernels_directory() / "mha_cuda"
    with pytest.raises(Exception, match=r"architecture .* is none"):
        scorer.ask(op="build", source=folder / "seed", problem=folder, architecture=architecture)


def test_a_cpu_candidate_is_built_and_read_too(scorer):
    folder = kernels_directory() / "mha_cpu"
    made = scorer.ask(op="build", source=folder / "seed", problem=folder)
    assert made["built"]
    with pytest.raises(Exception, match="CUDA problems only"):
        scorer.ask(op="build", source=folder / "seed", problem=folder, architecture="90a")


def test_a_machine_without_a_device_says_so_in_one_line(scorer):
    if shutil.which("nvidia-smi"):
        pytest.skip("this machine has a device")
    folder = kernels_directory() / "mha_cuda"
    with pytest.raises(Exception, match="mha_cuda: no CUDA device here") as refused:
        scorer.ask(op="score", source=folder / "seed", problem=folder)
    assert "\n" not in str(refused.value)
