"""The truth that candidates are judged against, in float64, and the baselines that they must beat.

`reference` is the definition. The judge asks it for all rows of one call of a configuration and for sampled rows of
every other, so it computes only the query rows it is asked for.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

# The same rows can be had from the judge's own compiled code, faster; it compares the two before it believes that.
# A problem that is not softmax(scale · Q Kᵀ) V leaves this out.
compiled = "attention"
TILE = 128  # positions at a time: their logits stay near the cores, and causal ones stop at the last key they see


def reference(q: Tensor, k: Tensor, v: Tensor, positions: Tensor, *, causal: bool, scale: float) -> Tensor:
    """softmax(scale · Q Kᵀ) V at some query positions, in float64.

    q [B, S, Hq, D]; k, v [B, S, Hkv, D]; positions [P] int64, rising. Returns [B, P, Hq, D] float64.
    """
    batch, seqlen, heads_kv, width = k.shape
    group = q.shape[2] // heads_kv
    keys, values = (_per_head(t).view(batch * heads_kv, seqlen, width) for t in (k, v))
    tiles = []
    for tile in positions.split(TILE):
        reach = int(tile.max()) + 1 if causal else seqlen  # no row of the tile looks at a later key
        rows = (q[:, tile].to(torch.float64) * scale).unflatten(2, (heads_kv, group))
        rows = rows.permute(0, 2, 3, 1, 4).reshape(batch * heads_kv, -1, width)  # [B·Hkv, group·P, D]
        logits = torch.bmm(rows, keys[:, :reach].transpose(1, 2))
        if causal:
            hidden = torch.arange(reach)[None, :] > tile[:, None]
            logits.masked_fill_(hidden.repeat(group, 1), float("-inf"))
        out = torch.bmm(logits.softmax(-1), values[:, :reach])
        tiles.append(out.view(batch, heads_kv, group, -1, width).permute(0, 3, 1, 2, 4).flatten(2, 3))
    return torch.cat(tiles, 1)


def _per_head(t: Tensor) -> Tensor:
    """[B, S, H, D] to contiguous float64 [B, H, S, D]."""
    return t.transpose(1, 2).to(torch.float64, memory_format=torch.contiguous_format)


def baselines() -> dict[str, Callable[[Tensor, Tensor, Tensor, bool, float], Tensor]]:
    """What people would otherwise use, by name; each takes and returns the ABI's layout."""
    return {"torch_sdpa": _torch_sdpa}


def _torch_sdpa(q: Tensor, k: Tensor, v: Tensor, causal: bool, scale: float) -> Tensor:
    """torch.nn.functional.scaled_dot_product_attention (its CPU flash kernel)."""
    heads = (t.transpose(1, 2) for t in (q, k, v))
    grouped = q.shape[2] != k.shape[2]
    out = torch.nn.functional.scaled_dot_product_attention(*heads, is_causal=causal, scale=scale, enable_gqa=grouped)
    return out.transpose(1, 2)
