"""What is missing or does not fit, said in one line: no nvcc, a GPU of another generation, memory that ran out."""

import shutil

import pytest

from engine.data import kernels_directory
from engine.record.errors import ScorerError
from engine.scorer import problem
from engine.scorer.cuda import toolchain
from engine.scorer.failure import CandidateFailed

MHA = kernels_directory() / "mha_cuda"
needs_nvcc = pytest.mark.skipif(shutil.which("nvcc") is None, reason="nvcc is not on this machine")


def test_without_nvcc_the_package_to_install_is_named(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ScorerError, match="no nvcc on PATH; install the CUDA toolkit") as refused:
        toolchain.find("90a", places=())
    assert "\n" not in str(refused.value)


@needs_nvcc
@pytest.mark.parametrize("architecture", ["80", pytest.param("100a", marks=pytest.mark.soak)])
def test_a_kernel_for_another_generation_fails_in_its_build_and_says_what_is_missing(scorer, architecture):
    made = scorer.ask(op="build", source=MHA / "best", problem=MHA, architecture=architecture)
    assert not made["built"]
    assert made["stage"] == "build"
    assert f"sm_{architecture}" in made["log"]
    assert "\n" not in made["reason"]
    assert "not supported" in made["reason"] or "requires" in made["reason"] or "cannot be compiled" in made["reason"]


@needs_nvcc
def test_a_generation_that_this_nvcc_does_not_know_is_named(scorer):
    made = scorer.ask(op="build", source=MHA / "seed", problem=MHA, architecture="30")
    assert not made["built"]
    assert "Unsupported gpu architecture" in made["reason"]


def test_a_gpu_without_room_for_the_judges_buffers_is_our_failure_with_the_size_that_is_needed(monkeypatch, torch):
    """The driver's part is played: this machine's torch has no device whose memory could be full."""
    from engine.scorer.cuda.arena import CudaArena

    def full(*_):
        raise torch.cuda.OutOfMemoryError("CUDA out of memory. Tried to allocate 9.00 GiB")

    monkeypatch.setattr(torch.cuda, "MemPool", full)
    with pytest.raises(ScorerError, match=r"needs \d{4,5} MiB of device memory; free some, or use another GPU"):
        CudaArena(problem.load(MHA).configurations, torch.bfloat16)


def test_a_worker_that_takes_the_memory_which_its_check_needs_fails_and_nobody_else(torch):
    from engine.scorer.cuda import judge

    with pytest.raises(CandidateFailed) as failed, judge._enough_memory("full_4096"):
        raise torch.cuda.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")
    failure = failed.value.failure
    assert (failure.stage, failure.configuration) == ("crash", "full_4096")
    assert "device memory ran out" in failure.reason
    with judge._enough_memory("full_4096"):
        pass
