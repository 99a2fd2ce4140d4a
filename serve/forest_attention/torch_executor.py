"""Execute a plan in torch: one matrix product per shared task, private tasks in padded batches.

Tasks of about the same length and the same number of rows go through one batched product. Keys and values of a
task are gathered from the cache once, whatever the number of its rows. Scores, softmax and the merge are float32.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from serve.forest_attention.forest import Ints
from serve.forest_attention.plan import Plan

PADDING = 1.25
"""Tasks share a batch while the longest is at most this many times the shortest."""
BATCH_TOKENS = 1 << 11
"""Gathered tokens a batch may hold, so that its keys and values stay in the processor's cache."""


@dataclass(frozen=True, slots=True)
class TaskBatch:
    """Tasks run as one batched product: b tasks of r query rows, padded to n tokens.

    `rows` int64[b, r] (query rows), `partials` int64[b * r] (where their results go), `index` int64[b, kv_heads, n]
    (where the keys are among all of a layer's, each of width d; padding repeats the first), `mask` bool[b, n] of
    the padding or None where there is none.
    """

    rows: torch.Tensor
    partials: torch.Tensor
    index: torch.Tensor
    mask: torch.Tensor | None


@dataclass(frozen=True, slots=True)
class TorchPlan:
    """A `Plan` as tensors on one device; made once, used by every layer of a step.

    `merge` int64[R, w] lists each row's partials, padded with the index P, a partial that is empty. None where
    every row is one partial in its place, so that there is nothing to merge.
    """

    batches: tuple[TaskBatch, ...]
    merge: torch.Tensor | None
    n_partials: int


def to_torch(
    plan: Plan, kv_heads: int, device: torch.device | str = "cpu", *, paged: bool = False
) -> TorchPlan:
    """Return the plan's tasks in batches and its merge program as a padded table.

    The cache's layers are [slots, kv_heads, d], or [blocks, kv_heads, block_tokens, d] if `paged`.
    """
    counts = np.diff(plan.row_indptr)
    order = np.lexsort((plan.n_tokens, counts))
    batches: list[TaskBatch] = []
    start = 0
    while start < len(order):
        stop = _batch_end(plan.n_tokens[order], counts[order], start)
        if plan.n_tokens[order[start]] or stop - start > 1:
            batches.append(_batch(plan, order[start:stop], kv_heads, device, paged))
        start = stop
    widths = np.diff(plan.merge_indptr)
    merge = np.full((plan.n_rows, max(int(widths.max(initial=0)), 1)), len(plan.rows), np.int64)
    merge[np.arange(merge.shape[1]) < widths[:, None]] = plan.merge
    in_place = merge.shape[1] == 1 and len(batches) == 1
    if in_place:
        in_place = np.array_equal(batches[0].partials.cpu(), merge[:, 0])
    return TorchPlan(tuple(batches), None if in_place else torch.from_numpy(merge).to(device), len(plan.rows))


def _batch_end(n_tokens: Ints, counts: Ints, start: int) -> int:
    """End of the run of tasks from `start` that one batch takes; both arrays are in batch order."""
    stop = start + 1
    while (
        stop < len(n_tokens)
        and counts[stop] == counts[start]
        and n_tokens[stop] <= PADDING * n_tokens[start] + 1
        and (stop + 1 - start) * n_tokens[stop] <= BATCH_TOKENS
    ):
        stop += 1
    return stop


def _batch(plan: Plan, tasks: Ints, kv_heads: int, device: torch.device | str, paged: bool) -> TaskBatch:
    lengths = plan.n_tokens[tasks]
    slots = np.zeros((len(tasks), int(lengths.max())), np.int64)
    for i, task in enumerate(tasks):
        slots[i, : lengths[i]] = plan.slots(int(task))
    partials = plan.row_indptr[tasks][:, None] + np.arange(
        plan.row_indptr[tasks[0] + 1] - plan.row_indptr[tasks[0]]
    )
    heads, size = np.arange(kv_heads)[:, None], plan.block_tokens
    each = slots[:, None]
    index = (each // size * kv_heads + heads) * size + each % size if paged else each * kv_heads + heads
    padded = bool((lengths != lengths[0]).any())
    mask = np.arange(slots.shape[1]) >= lengths[:, None] if padded else None
    return TaskBatch(
        rows=torch.from_numpy(plan.rows[partials]).to(device),
        partials=torch.from_numpy(partials.ravel()).to(device),
        index=torch.from_numpy(index).to(device),
        mask=None if mask is None else torch.from_numpy(mask).to(device),
    )


def execute(
    plan: TorchPlan, query: torch.Tensor, keys: torch.Tensor, values: torch.Tensor, scale: float
) -> tuple[torch.Tensor, torch.Tensor]:
    """Attention of every row over its context.

    Parameters
    ----------
    plan
        From `to_torch`.
    query
        [rows, heads, d].
    keys, values
        One layer of the cache, in the layout that `to_torch` was told.
    scale
        Factor on the scores.

    Returns
    -------
    The output [rows, heads, d] and its log-sum-exp [rows, heads], both of the precision of the sums (float32, or
    float64 for float64 queries). 0 and -inf for a row without context.
    """
    sums = torch.float64 if query.dtype == torch.float64 else torch.float32
    heads, d = query.shape[1:]
    if plan.merge is None:
        part, part_lse = _pac(plan.batches[0], query, keys, values, scale, sums)  # its rows are in order
        return part.to(sums), part_lse
    out = query.new_zeros((plan.n_partials + 1, heads, d), dtype=sums)
    lse = query.new_full((plan.n_partials + 1, heads), -torch.inf, dtype=sums)
    for batch in plan.batches:
        chosen = query.index_select(0, batch.rows.view(-1))
        part, lse[batch.partials] = _pac(batch, chosen, keys, values, scale, sums)
        out[batch.partials] = part.to(sums)
    return _por(out[plan.merge], lse[plan.merge])


def _pac(
    batch: TaskBatch,
    query: torch.Tensor,
    keys: torch.Tensor,
    values: torch.Tensor,
    scale: float,
    sums: torch.dtype,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Partial attention of a batch of tasks for their rows' queries [b * r, heads, d]; the same and [b * r, heads]."""
    (b, r), kv_heads, d = batch.rows.shape, batch.index.shape[1], query.shape[2]
    group = query.shape[1] // kv_heads
    flat = batch.index.view(-1)
    k, v = (cache.view(-1, d).index_select(0, flat).view(b, kv_heads, -1, d) for cache in (keys, values))
    fused = query.device.type == "cpu" and batch.mask is None  # sums in float32 at least by itself
    if k.dtype != sums and not fused:
        query, k, v = query.to(sums), k.to(sums), v.to(sums)
    if r == 1:  # a row's heads lie in groups already
        out, lse = _softmax_attention(query.view(b, kv_heads, group, d), k, v, batch.mask, scale)
        return out.reshape(b, -1, d), lse.reshape(b, -1)
    # the group's heads of all rows are stacked, so that the product is a matrix times a matrix
    stacked = query.view(b, r, kv_heads, group, d).transpose(1, 2).reshape(b, kv_heads, r * group, d)
    out, lse = _softmax_attention(stacked, k, v, batch.mask, scale)
    out, lse = out.contiguous(), lse.contiguous()
    unstacked = out.view(b, kv_heads, r, group, d).transpose(1, 2).reshape(b * r, -1, d)
    return unstacked, lse.view(b, kv_heads, r, group).transpose(1, 2).reshape(b * r, -1)


def _softmax_attention(
    query: torch.Tensor, k: torch.Tensor, v: torch.Tensor, mask: torch.Tensor | None, scale: float
) -> tuple[torch.Tensor, torch.Tensor]:
    """Attention with its log-sum-exp; [b, kv_heads, rows, d] queries over [b, kv_heads, n, d], bool[b, n] padding."""
    if query.device.type == "cpu" and mask is None:
        fused: tuple[torch.Tensor, torch.Tensor] = torch._scaled_dot_product_flash_attention_for_cpu(  # type: ignore[attr-defined, unused-ignore]
            query, k, v, 0.0, False, scale=scale
        )
        return fused
    scores = (query * scale) @ k.transpose(2, 3)
    if mask is not None:
        scores.masked_fill_(mask[:, None, None, :], -torch.inf)
    lse = scores.logsumexp(dim=3)
    return scores.sub_(lse[..., None]).exp_() @ v, lse


def _por(out: torch.Tensor, lse: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Merge the partials of each row: [R, w, heads, d] and [R, w, heads] over w."""
    if out.shape[1] == 1:
        return out[:, 0], lse[:, 0]
    total = lse.logsumexp(dim=1)
    weights = (lse - total.masked_fill(total.isneginf(), 0.0)[:, None]).exp()
    return torch.einsum("rwh,rwhd->rhd", weights, out), total


def merge(
    out_a: torch.Tensor, lse_a: torch.Tensor, out_b: torch.Tensor, lse_b: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """Merge two partials of the same rows, e.g. committed context and draft tree."""
    return _por(torch.stack((out_a, out_b), 1), torch.stack((lse_a, lse_b), 1))
