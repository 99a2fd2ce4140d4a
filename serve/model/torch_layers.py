"""The parts of a decoder layer that are not matrix products, in torch: for GPUs, and the kernels' definition."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F

from serve.errors import ModelError
from serve.forest_attention.torch_executor import merge
from serve.kv_cache.attention_metadata import AttentionPlan, Span
from serve.kv_cache.paged_kv import PagedKV
from serve.model.weights import Dimensions


def rms_norm(x: torch.Tensor, weight: torch.Tensor, eps: float) -> torch.Tensor:
    """Root-mean-square norm over the last axis, computed in float32 at least."""
    wide = x.to(torch.promote_types(x.dtype, torch.float32))
    scale = torch.rsqrt(wide.pow(2).mean(-1, keepdim=True) + eps)
    return weight * (wide * scale).to(x.dtype)


def silu_product(gate_up: torch.Tensor) -> torch.Tensor:
    """``silu(gate) * up`` [r, i] of rows [r, 2 i], gate before up."""
    gate, up = gate_up.chunk(2, -1)
    return F.silu(gate).mul_(up)


def rotary(
    config: Any, dims: Dimensions, stretch: torch.Tensor | None, device: torch.device, dtype: torch.dtype
) -> tuple[torch.Tensor, torch.Tensor]:
    """Cosines and sines for every position, [longest, d / 2], by transformers' own rope initialisation.

    `stretch` [d / 2] divides the frequencies: what a GGUF file has of Llama 3's scaling.
    """
    from transformers.models.llama.modeling_llama import LlamaRotaryEmbedding

    scaling = getattr(config, "rope_parameters", None) or getattr(config, "rope_scaling", None) or {}
    kind = scaling.get("rope_type", "default") if isinstance(scaling, dict) else scaling
    if kind in ("dynamic", "longrope"):
        raise ModelError(
            f"rope type {kind!r} depends on the prompt's length, which a shared cache cannot have"
        )
    try:
        rope = LlamaRotaryEmbedding(config)
    except (ArithmeticError, AttributeError, LookupError, RuntimeError, TypeError, ValueError) as error:
        raise ModelError(f"the rope settings cannot be used: {type(error).__name__}: {error}") from error
    if len(rope.inv_freq) != dims.head_width // 2:
        raise ModelError(
            f"the rope settings give {len(rope.inv_freq)} frequencies, head_dim is {dims.head_width}"
        )
    frequencies = rope.inv_freq.float() if stretch is None else rope.inv_freq.float() / stretch.float()
    angles = torch.arange(dims.longest).float()[:, None] * frequencies[None]
    factor = rope.attention_scaling
    return (angles.cos() * factor).to(device, dtype), (angles.sin() * factor).to(device, dtype)


def rotate(x: torch.Tensor, cos: torch.Tensor, sin: torch.Tensor) -> torch.Tensor:
    """Rotary position embedding of x [r, heads, d] by cos, sin [r, d / 2] (halves, as in Llama)."""
    a, b = x.chunk(2, -1)
    c, s = cos[:, None], sin[:, None]
    return torch.cat([a * c - b * s, b * c + a * s], -1)


def visible(plan: AttentionPlan, span: Span, device: torch.device) -> torch.Tensor:
    """Which cached tokens each row of a segment sees; bool[rows, context + rows]."""
    rows = span.stop - span.start
    seen = torch.as_tensor(plan.seen[span.start : span.stop], device=device)
    mask = torch.arange(span.context + rows, device=device)[None] < seen[:, None]
    for i in range(rows if span.tree else 0):
        first, last = plan.extra_start[span.start + i : span.start + i + 2]
        mask[i, torch.as_tensor(plan.extra[first:last], device=device, dtype=torch.int64)] = True
    return mask


def attend_span(
    q: torch.Tensor, keys: torch.Tensor, values: torch.Tensor, mask: torch.Tensor
) -> torch.Tensor:
    """Attention of a segment's queries [rows, heads, d] over its n tokens [kv heads, n, d] under `mask` [rows, n].

    The mask says what a row sees, or is added to the scores.
    """
    out = F.scaled_dot_product_attention(
        q.transpose(0, 1)[None], keys[None], values[None], attn_mask=mask[None, None], enable_gqa=True
    )
    return out[0].transpose(0, 1)


def attend_rest(
    q: torch.Tensor,
    span: Span,
    mask: torch.Tensor,
    cache: PagedKV,
    layer: int,
    before: tuple[torch.Tensor, torch.Tensor],
) -> torch.Tensor:
    """As `attend_span`, merged with `before`: attention [rows, heads, d] and log-sum-exp [rows, heads] of what
    `mask` leaves out; -inf where nothing is.
    """
    start = int(mask.any(0).int().argmax()) // cache.block_tokens * cache.block_tokens
    keys, values = cache.read(layer, span.blocks[start // cache.block_tokens :], mask.shape[1] - start)
    rows, heads, d = q.shape
    grouped = q.view(rows, len(keys), -1, d).transpose(0, 1)  # [kv heads, rows, group, d]
    scores = torch.einsum("krgd,ktd->krgt", grouped, keys) * d**-0.5
    scores.masked_fill_(~mask[None, :, None, start:], -torch.inf)
    lse = scores.logsumexp(-1)
    weights = (scores - lse.masked_fill(lse.isneginf(), 0.0)[..., None]).exp()
    out = torch.einsum("krgt,ktd->krgd", weights, values).transpose(0, 1).reshape(rows, heads, d)
    return merge(*before, out, lse.transpose(0, 1).reshape(rows, heads))[0].to(q.dtype)
