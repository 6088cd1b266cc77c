"""Nsight Compute's table read back, and on a GPU host the counters of a real call in its sandbox (`pytest -m gpu`)."""

import shutil
from pathlib import Path

import pytest

from engine.data import kernels_directory
from engine.scorer.cuda.counters import _why, counted

MHA = kernels_directory() / "mha_cuda"
HEAD = (
    '"ID","Process ID","Process Name","Host Name","Kernel Name","Context","Stream","Block Size","Grid Size","Device","CC",'
    '"Section Name","Metric Name","Metric Unit","Metric Value"'
)
TENSOR = "sm__pipe_tensor_op_hmma_cycles_active.avg.pct_of_peak_sustained_active"


def row(launch: int, metric: str, value: str) -> str:
    kernel = '"void <unnamed>::attention_kernel<1>(CUtensorMap_st, <unnamed>::Problem)"'
    return f'"{launch}","1180","alone","127.0.0.1",{kernel},"1","7","(384, 1, 1)","(132, 1, 1)","0","9.0","Metrics","{metric}","","{value}"'


def table(*rows: str) -> str:
    return "\n".join(("==PROF== Connected to process 1180", HEAD, *rows, "==PROF== Disconnected from process 1180"))


def test_one_kernels_counters_have_their_units():
    said = table(
        row(0, "gpu__time_duration.sum", "721,120"), row(0, TENSOR, "92.43"),
        row(0, "lts__t_sectors_op_read.sum", "157,855,329"), row(0, "sm__cycles_elapsed.avg.per_second", "1,590,000,000"),
    )  # fmt: skip
    found = counted(said)
    assert found.kernels == 1
    assert found.time_us == pytest.approx(721.12)
    assert found.values == pytest.approx({"tensor_active": 0.9243, "clock_ghz": 1.59, "l2_read_gb": 5.05137})


def test_several_kernels_are_weighted_by_their_time_and_what_they_read_is_added():
    said = table(
        row(0, "gpu__time_duration.sum", "300"), row(0, TENSOR, "90"), row(0, "dram__bytes_read.sum", "1000000000"),
        row(1, "gpu__time_duration.sum", "100"), row(1, TENSOR, "10"), row(1, "dram__bytes_read.sum", "500000000"),
    )  # fmt: skip
    found = counted(said)
    assert (found.kernels, found.time_us) == (2, pytest.approx(0.4))
    assert found.values == pytest.approx({"tensor_active": 0.7, "memory_read_gb": 1.5})


def test_a_counter_that_the_device_has_not_is_left_out():
    found = counted(table(row(0, "gpu__time_duration.sum", "10"), row(0, TENSOR, "n/a")))
    assert found.values == {}


@pytest.mark.parametrize(
    ("said", "code", "words"),
    [
        ("==ERROR== ERR_NVGPUCTRPERM - The user does not have permission", 1, "lets only an administrator"),
        (
            "==ERROR== Failed to parse options: Permission denied [/x]",
            1,
            "status 1): ==ERROR== Failed to parse options",
        ),
        ("==PROF== Connected\nseqlen must be a multiple of 64", 42, "status 42): seqlen must be a multiple of 64"),
        ("==WARNING== No kernels were profiled.", 0, "nothing was launched"),
        ("", -9, "status -9"),
    ],
)
def test_without_a_table_the_reason_is_one_line(said, code, words):
    assert counted(said) is None
    assert words in _why(said, code)
    assert "\n" not in _why(said, code)


def test_a_candidate_that_prints_a_table_of_its_own_breaks_nothing():
    said = table(row(0, "gpu__time_duration.sum", "10"), '"0","x"', '"', HEAD, row(1, TENSOR, "99"))
    assert counted(said).kernels == 1


@pytest.mark.gpu
@pytest.mark.skipif(not Path("/dev/nvidiactl").exists(), reason="no NVIDIA device here")
@pytest.mark.skipif(not (shutil.which("ncu") or Path("/usr/local/cuda/bin/ncu").exists()), reason="ncu is not here")
def test_a_profile_counts_a_call_inside_the_sandbox(scorer):
    found = scorer.ask(op="profile", source=MHA / "best", problem=MHA, suite="quick")
    print(found["text"])
    assert "hardware counters (ncu" in found["text"]
    facts = found["facts"]
    assert 0.5 < facts["profile.tensor_active"] <= 1.0
    assert 0.0 < facts["profile.special_active"] < 1.0
    assert 0.5 < facts["profile.clock_ghz"] < 3.0
    assert facts["profile.l2_read_gb"] > facts["profile.memory_read_gb"] > 0.0
