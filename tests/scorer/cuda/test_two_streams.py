"""A shipped kernel under its users' conditions: a causal and a full call in flight at once, on two streams."""

import ctypes
import itertools
from pathlib import Path

import pytest

from engine.data import kernels_directory

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.timeout(300),
    pytest.mark.skipif(not Path("/dev/nvidiactl").exists(), reason="no NVIDIA device here"),
]
BEST = sorted(folder for folder in kernels_directory().glob("*_cuda/best") if folder.is_dir())
# (batch, heads_q, heads_kv, seqlen): a few waves of tiles, so that one call's blocks start while the other's end.
SHAPES = [(1, 16, 16, 2048), (1, 16, 4, 4096), (2, 8, 8, 1500)]
ROUNDS = 60


def forward_of(folder: Path):
    """The kernel's entry point, built as the scorer builds it: forward(q, k, v, o, causal, stream)."""
    import torch

    from engine.scorer import intake, problem, sandbox
    from engine.scorer.build import build
    from engine.scorer.children import Children
    from engine.scorer.cuda import toolchain

    chosen = problem.load(folder.parent if folder.name == "best" else kernels_directory() / "mha_cuda")
    tools = toolchain.find(toolchain.architecture(torch.cuda.get_device_capability()))
    made = build(intake.take(folder, chosen), chosen, tools, Children(sandbox.choose()), timeout_s=240)
    entry = ctypes.CDLL(str(made.library)).attention_forward
    entry.argtypes = [ctypes.c_void_p] * 4 + [ctypes.c_int] * 6 + [ctypes.c_float, ctypes.c_void_p]
    entry.restype = None

    def forward(q, k, v, o, *, causal, stream):
        batch, seqlen, heads_q, head_dim = q.shape
        pointers = [t.data_ptr() for t in (q, k, v, o)]
        entry(*pointers, batch, heads_q, k.shape[2], seqlen, head_dim, int(causal), head_dim**-0.5, stream.cuda_stream)

    return forward


def wrong_rounds(folder: Path) -> int:
    """How many of ROUNDS gave another output than the same call alone."""
    import torch

    forward = forward_of(folder)
    streams = [torch.cuda.Stream() for _ in range(2)]
    wrong = 0
    for _, (batch, heads_q, heads_kv, seqlen) in zip(range(ROUNDS), itertools.cycle(SHAPES), strict=False):
        q, k, v = (
            torch.randn(batch, seqlen, heads, 128, device="cuda", dtype=torch.bfloat16)
            for heads in (heads_q, heads_kv, heads_kv)
        )
        alone, beside = ([torch.full_like(q, float("nan")) for _ in range(2)] for _ in range(2))
        torch.cuda.synchronize()
        for causal in (False, True):
            forward(q, k, v, alone[causal], causal=causal, stream=streams[0])
            torch.cuda.synchronize()
        for causal in (False, True):
            forward(q, k, v, beside[causal], causal=causal, stream=streams[causal])
        torch.cuda.synchronize()
        wrong += not all(torch.equal(one, other) for one, other in zip(alone, beside, strict=True))
    return wrong


@pytest.mark.parametrize("best", BEST, ids=lambda p: p.parent.name)
def test_a_causal_and_a_full_call_at_once_are_each_right(best):
    assert wrong_rounds(best) == 0
