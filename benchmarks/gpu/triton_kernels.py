"""Execute a plan with two Triton kernels: PAC per (task, key-value head), POR per (row, head).

Rows are gathered by index, so requests that share a prefix need not be neighbours; one reduction launch serves every
depth of the forest. Partials and sums are float32, products of the cache's type. With ``TRITON_INTERPRET=1`` set
before the import the same source runs on CPU tensors, which checks its results and says nothing about its speed.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
import triton
import triton.language as tl

from serve.forest_attention.plan import Plan

LARGEST_TILE = 128
"""Stacked query heads of one program at most; more spill out of a multiprocessor's registers."""


@triton.jit  # type: ignore[untyped-decorator]
def _pac(  # type: ignore[no-untyped-def]
    query, keys, values, out, lse, rows, row_indptr, blocks, block_indptr, n_tokens, scale,
    HEADS: tl.constexpr, KV_HEADS: tl.constexpr, D: tl.constexpr, BLOCK_TOKENS: tl.constexpr,
    TILE: tl.constexpr, CHUNK: tl.constexpr,
):  # fmt: skip
    """One task of one key-value head: online softmax over its tokens in chunks; products in the cache's type."""
    GROUP: tl.constexpr = HEADS // KV_HEADS
    task = tl.program_id(0)
    kv_head = tl.program_id(1)
    first = tl.load(row_indptr + task)
    n_rows = tl.load(row_indptr + task + 1) - first
    tile = tl.arange(0, TILE)
    inside = tile // GROUP < n_rows
    head = kv_head * GROUP + tile % GROUP
    row = tl.load(rows + first + tile // GROUP, mask=inside, other=0)
    d = tl.arange(0, D)
    q_at = row[:, None] * (HEADS * D) + head[:, None] * D + d[None, :]
    q = tl.load(query + q_at, mask=inside[:, None], other=0.0).to(keys.dtype.element_ty)
    top = tl.full([TILE], -float("inf"), tl.float32)
    total = tl.zeros([TILE], tl.float32)
    acc = tl.zeros([TILE, D], tl.float32)
    n = tl.load(n_tokens + task)
    first_block = tl.load(block_indptr + task)
    for start in range(0, n, CHUNK):
        token = start + tl.arange(0, CHUNK)
        valid = token < n
        block = tl.load(blocks + first_block + token // BLOCK_TOKENS, mask=valid, other=0).to(tl.int64)
        line = (block * KV_HEADS + kv_head) * BLOCK_TOKENS + token % BLOCK_TOKENS
        kv_at = line[:, None] * D + d[None, :]
        k = tl.load(keys + kv_at, mask=valid[:, None], other=0.0)
        v = tl.load(values + kv_at, mask=valid[:, None], other=0.0)
        scores = tl.dot(q, tl.trans(k), input_precision="ieee") * scale
        scores = tl.where(valid[None, :], scores, -float("inf"))
        higher = tl.maximum(top, tl.max(scores, 1))
        weights = tl.exp(scores - higher[:, None])
        shrink = tl.exp(top - higher)
        total = total * shrink + tl.sum(weights, 1)
        acc = acc * shrink[:, None] + tl.dot(weights.to(v.dtype), v, input_precision="ieee")
        top = higher
    partial = first + tile // GROUP
    out_at = partial[:, None] * (HEADS * D) + head[:, None] * D + d[None, :]
    tl.store(out + out_at, acc / total[:, None], mask=inside[:, None])
    tl.store(lse + partial * HEADS + head, top + tl.log(total), mask=inside)


@triton.jit  # type: ignore[untyped-decorator]
def _por(  # type: ignore[no-untyped-def]
    partial_out, partial_lse, merge, merge_indptr, out, lse, HEADS: tl.constexpr, D: tl.constexpr
):
    """All partials of one row and head, merged in one pass."""
    row = tl.program_id(0)
    head = tl.program_id(1)
    d = tl.arange(0, D)
    top = -float("inf")
    total = 0.0
    acc = tl.zeros([D], tl.float32)
    for i in range(tl.load(merge_indptr + row), tl.load(merge_indptr + row + 1)):
        offset = tl.load(merge + i) * HEADS + head
        part = tl.load(partial_lse + offset)
        higher = tl.maximum(top, part)
        shrink, weight = tl.exp(top - higher), tl.exp(part - higher)
        acc = acc * shrink + weight * tl.load(partial_out + offset * D + d)
        total = total * shrink + weight
        top = higher
    safe = tl.where(total > 0.0, total, 1.0)
    tl.store(out + (row * HEADS + head) * D + d, acc / safe)
    tl.store(lse + row * HEADS + head, top + tl.log(safe))


@dataclass(frozen=True, slots=True)
class DevicePlan:
    """A `Plan`'s arrays on the device of the cache; made once a step, used by every layer."""

    arrays: dict[str, torch.Tensor]
    n_tasks: int
    n_partials: int
    n_rows: int
    most_rows: int
    block_tokens: int


def to_device(plan: Plan, device: torch.device | str) -> DevicePlan:
    """Copy a plan's arrays to the device, as int32."""
    names = ("row_indptr", "rows", "block_indptr", "blocks", "n_tokens", "merge_indptr", "merge")
    arrays = {n: torch.from_numpy(getattr(plan, n)).to(device=device, dtype=torch.int32) for n in names}
    most_rows = int((plan.row_indptr[1:] - plan.row_indptr[:-1]).max(initial=1))
    return DevicePlan(arrays, len(plan.n_tokens), len(plan.rows), plan.n_rows, most_rows, plan.block_tokens)


def execute(
    plan: DevicePlan, query: torch.Tensor, keys: torch.Tensor, values: torch.Tensor, scale: float
) -> tuple[torch.Tensor, torch.Tensor]:
    """Attention of every row over its context, as `torch_executor.execute`; d must be a power of two, at least 16.

    `query` [rows, heads, d]; `keys` and `values` [blocks, kv_heads, block_tokens, d], one layer of
    `serve.kv_cache.paged_kv.PagedKV`; all contiguous. Products run in the cache's type (bfloat16 on
    tensor cores), sums in float32. Returns float32 [rows, heads, d] and [rows, heads].

    Raises
    ------
    ValueError
        If the kernels cannot tile d, the cache has blocks of another size, or the plan's tasks hold more rows than a
        tile of `LARGEST_TILE`. Give `balanced_plan` a `CostModel` with `tile_rows` of at most that.
    """
    (_, heads, d), kv_heads = query.shape, keys.shape[1]
    if d < 16 or d & (d - 1):
        raise ValueError(f"head dimension {d}: the kernels take a power of two of at least 16")
    a: dict[str, Any] = plan.arrays
    new = query.new_empty
    partial_out = new((max(plan.n_partials, 1), heads, d), dtype=torch.float32)
    partial_lse = new((max(plan.n_partials, 1), heads), dtype=torch.float32)
    if keys.shape[2] != plan.block_tokens:
        raise ValueError(f"the cache has blocks of {keys.shape[2]} tokens, the plan of {plan.block_tokens}")
    tile = max(16, triton.next_power_of_2(plan.most_rows * (heads // kv_heads)))
    if tile > LARGEST_TILE:
        raise ValueError(
            f"a task stacks {plan.most_rows * (heads // kv_heads)} query heads; a tile holds {LARGEST_TILE}"
        )
    if plan.n_tasks:
        _pac[(plan.n_tasks, kv_heads)](
            query, keys, values, partial_out, partial_lse, a["rows"], a["row_indptr"], a["blocks"],
            a["block_indptr"], a["n_tokens"], scale, HEADS=heads, KV_HEADS=kv_heads, D=d,
            BLOCK_TOKENS=plan.block_tokens, TILE=tile, CHUNK=64 if keys.element_size() < 4 else 32, num_stages=2,
        )  # fmt: skip
    out = new((plan.n_rows, heads, d), dtype=torch.float32)
    lse = new((plan.n_rows, heads), dtype=torch.float32)
    _por[(plan.n_rows, heads)](
        partial_out, partial_lse, a["merge"], a["merge_indptr"], out, lse, HEADS=heads, D=d
    )  # fmt: skip
    return out, lse
