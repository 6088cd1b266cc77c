"""The truth that candidates are judged against, in float64, the baselines they must beat, and the peer for accuracy.

Everything runs on the device that holds the inputs. The judge asks for sampled query rows only.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel

Attention = Callable[[Tensor, Tensor, Tensor, bool, float], Tensor]


def reference(q: Tensor, k: Tensor, v: Tensor, positions: Tensor, *, causal: bool, scale: float) -> Tensor:
    """softmax(scale · Q Kᵀ) V at some query positions, in float64.

    q [B, S, Hq, D]; k, v [B, S, Hkv, D]; positions [P] int64. Returns [B, P, Hq, D] float64.
    """
    group = q.shape[2] // k.shape[2]
    keys = k.permute(0, 2, 3, 1).to(torch.float64).unsqueeze(2)  # [B, Hkv, 1, D, S]
    rows = q[:, positions].permute(0, 2, 1, 3).to(torch.float64)  # [B, Hq, P, D]
    logits = torch.matmul(rows.unflatten(1, (-1, group)).mul_(scale), keys)  # [B, Hkv, group, P, S]
    del keys
    if causal:
        hidden = torch.arange(k.shape[1], device=q.device)[None, :] > positions[:, None]
        logits.masked_fill_(hidden, float("-inf"))
    logits.sub_(logits.amax(-1, keepdim=True)).exp_()
    total = logits.sum(-1, keepdim=True)
    values = v.permute(0, 2, 1, 3).to(torch.float64).unsqueeze(2)  # [B, Hkv, 1, S, D]
    return torch.matmul(logits, values).div_(total).flatten(1, 2).permute(0, 2, 1, 3)


def baselines() -> dict[str, Attention]:
    """What people would otherwise use: cuDNN first, torch's flash kernel, and FlashAttention-4 where installed."""
    found: dict[str, Attention] = {
        "cudnn": _sdpa(SDPBackend.CUDNN_ATTENTION),
        "torch_flash": _sdpa(SDPBackend.FLASH_ATTENTION),
    }
    if (fa4 := _flash_attention_4()) is not None:
        found["fa4"] = fa4
    return found


def peer(q: Tensor, k: Tensor, v: Tensor, causal: bool, scale: float) -> Tensor:
    """The trusted kernel of the same precision that sets the bar for accuracy: cuDNN."""
    return _sdpa(SDPBackend.CUDNN_ATTENTION, SDPBackend.FLASH_ATTENTION)(q, k, v, causal, scale)


def _sdpa(*backends: SDPBackend) -> Attention:
    def attention(q: Tensor, k: Tensor, v: Tensor, causal: bool, scale: float) -> Tensor:
        heads = (t.transpose(1, 2) for t in (q, k, v))
        grouped = q.shape[2] != k.shape[2]
        with sdpa_kernel(list(backends)):
            out = torch.nn.functional.scaled_dot_product_attention(
                *heads, is_causal=causal, scale=scale, enable_gqa=grouped
            )
        return out.transpose(1, 2)

    return attention


def _flash_attention_4() -> Attention | None:
    """FlashAttention-4's CuTe kernel (flash_attn.cute), or None when it cannot be imported."""
    try:
        from flash_attn.cute import flash_attn_func
    except (ImportError, OSError, RuntimeError):
        return None

    def attention(q: Tensor, k: Tensor, v: Tensor, causal: bool, scale: float) -> Tensor:
        out = flash_attn_func(q, k, v, softmax_scale=scale, causal=causal)
        return out[0] if isinstance(out, tuple) else out

    return attention
