"""The truth that candidates are judged against, in float64, and the baselines that they must beat.

The judge calls `reference` for all rows of a first call and for sampled rows of every later one, so it computes only
the query rows it is asked for.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor


def reference(q: Tensor, k: Tensor, v: Tensor, positions: Tensor, *, causal: bool, scale: float) -> Tensor:
    """softmax(scale · Q Kᵀ) V at some query positions, in float64.

    q [B, S, Hq, D]; k, v [B, S, Hkv, D]; positions [P] int64. Returns [B, P, Hq, D] float64.
    """
    group = q.shape[2] // k.shape[2]
    keys = k.permute(0, 2, 3, 1).to(torch.float64).unsqueeze(2)  # [B, Hkv, 1, D, S]
    values = v.permute(0, 2, 1, 3).to(torch.float64).unsqueeze(2)  # [B, Hkv, 1, S, D]
    rows = q[:, positions].permute(0, 2, 1, 3).to(torch.float64)  # [B, Hq, P, D]
    logits = torch.matmul(rows.unflatten(1, (-1, group)).mul_(scale), keys)  # [B, Hkv, group, P, S]
    if causal:
        hidden = torch.arange(k.shape[1])[None, :] > positions[:, None]
        logits.masked_fill_(hidden, float("-inf"))
    logits.sub_(logits.amax(-1, keepdim=True)).exp_()
    total = logits.sum(-1, keepdim=True)
    return torch.matmul(logits, values).div_(total).flatten(1, 2).permute(0, 2, 1, 3)


def baselines() -> dict[str, Callable[[Tensor, Tensor, Tensor, bool, float], Tensor]]:
    """What people would otherwise use, by name; each takes and returns the ABI's layout."""
    return {"torch_sdpa": _torch_sdpa}


def _torch_sdpa(q: Tensor, k: Tensor, v: Tensor, causal: bool, scale: float) -> Tensor:
    """torch.nn.functional.scaled_dot_product_attention (its CPU flash kernel)."""
    heads = (t.transpose(1, 2) for t in (q, k, v))
    grouped = q.shape[2] != k.shape[2]
    out = torch.nn.functional.scaled_dot_product_attention(*heads, is_causal=causal, scale=scale, enable_gqa=grouped)
    return out.transpose(1, 2)
