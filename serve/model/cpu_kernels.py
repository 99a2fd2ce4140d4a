"""The two places where a decoder layer is not a matrix product, compiled for the CPU (numba).

Each row is computed on its own and in a fixed order, so its bits do not depend on which rows go with it.
`serve.model.torch_layers` has the same in torch, for GPUs and for prompt chunks; the tests hold the two together.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar, cast

import numba
import numpy as np
import numpy.typing as npt

Function = TypeVar("Function", bound=Callable[..., Any])
Floats = npt.NDArray[Any]


def _compiled(function: Function) -> Function:
    return cast(Function, numba.njit(fastmath=True, parallel=True, nogil=True, cache=True)(function))


@_compiled
def add_rms_norm(x: Floats, delta: Floats, weight: Floats, eps: float, out: Floats) -> None:
    """Add `delta` [r, h] (or nothing, if it has no rows) to `x` [r, h] in place, then norm rows into `out`."""
    rows, width = x.shape
    for r in numba.prange(rows):
        square = x.dtype.type(0)
        if delta.shape[0] > 0:
            for j in range(width):
                x[r, j] += delta[r, j]
                square += x[r, j] * x[r, j]
        else:
            for j in range(width):
                square += x[r, j] * x[r, j]
        scale = x.dtype.type(1) / np.sqrt(square / x.dtype.type(width) + x.dtype.type(eps))
        for j in range(width):
            out[r, j] = weight[j] * (x[r, j] * scale)


@_compiled
def rotate_and_store(
    qkv: Floats,
    cos: Floats,
    sin: Floats,
    slots: npt.NDArray[np.int64],
    q_norm: Floats,
    k_norm: Floats,
    eps: float,
    keys: Floats,
    values: Floats,
) -> None:
    """Norm (Qwen3) and rotate the queries in place; norm, rotate and store keys, store values.

    `qkv` [r, query + key + value heads, d], `cos` and `sin` [r, d / 2], `slots` [r]. `keys` and `values`
    [blocks, kv heads, block tokens, d] are one layer's cache. Empty `q_norm`: no norm.
    """
    rows, heads, width = qkv.shape
    kv_heads, block_tokens = keys.shape[1], keys.shape[2]
    q_heads = heads - 2 * kv_heads
    half = width // 2
    for r in numba.prange(rows):
        block, offset = slots[r] // block_tokens, slots[r] % block_tokens
        for h in range(q_heads + kv_heads):
            x = qkv[r, h]
            if q_norm.shape[0] > 0:
                square = qkv.dtype.type(0)
                for j in range(width):
                    square += x[j] * x[j]
                scale = qkv.dtype.type(1) / np.sqrt(square / qkv.dtype.type(width) + qkv.dtype.type(eps))
                weight = q_norm if h < q_heads else k_norm
                for j in range(width):
                    x[j] = weight[j] * (x[j] * scale)
            for j in range(half):
                a, b = x[j], x[j + half]
                x[j] = a * cos[r, j] - b * sin[r, j]
                x[j + half] = b * cos[r, j] + a * sin[r, j]
        for h in range(kv_heads):
            for j in range(width):
                keys[block, h, offset, j] = qkv[r, q_heads + h, j]
                values[block, h, offset, j] = qkv[r, q_heads + kv_heads + h, j]


@numba.njit(fastmath=True, nogil=True, cache=True)  # type: ignore[untyped-decorator, unused-ignore]
def _weigh(scores: Floats, merges: bool, lse: float, out: Floats) -> None:
    """Turn scores into softmax weights in place, and `out` into what it contributes: attention with `lse`, or 0."""
    largest = scores[0]
    for t in range(1, len(scores)):
        largest = max(largest, scores[t])
    if merges:
        largest = max(largest, lse)
    norm = scores.dtype.type(0)
    for t in range(len(scores)):
        scores[t] = np.exp(scores[t] - largest)
        norm += scores[t]
    before = scores.dtype.type(0)
    if merges:
        before = np.exp(lse - largest)
        norm += before
    for t in range(len(scores)):
        scores[t] /= norm
    for j in range(len(out)):
        out[j] = out[j] * (before / norm) if merges else 0


@_compiled
def attend(
    qkv: Floats,
    rows: npt.NDArray[np.int64],
    segment: npt.NDArray[np.int32],
    seen: npt.NDArray[np.int32],
    extra_start: npt.NDArray[np.int32],
    extra: npt.NDArray[np.int32],
    tables: npt.NDArray[np.int32],
    keys: Floats,
    values: Floats,
    begin: npt.NDArray[np.int32],
    lse: Floats,
    out: Floats,
) -> None:
    """Attention of the listed rows over the cached tokens that the plan lets each see; into `out` [r, heads, d].

    Of the first `begin[r]` tokens `out` holds the attention already and `lse` [r, heads] its log-sum-exp; the rest is
    merged in. The other arguments are those of `serve.kv_cache.attention_metadata.AttentionPlan` and
    `rotate_and_store`. One task is a row and a KV head: its queries (grouped-query attention) share each key.
    """
    heads, width = qkv.shape[1], qkv.shape[2]
    kv_heads, block_tokens = keys.shape[1], keys.shape[2]
    group = (heads - 2 * kv_heads) // kv_heads
    scale = qkv.dtype.type(1) / np.sqrt(qkv.dtype.type(width))
    for task in numba.prange(len(rows) * kv_heads):
        r, h = rows[task // kv_heads], task % kv_heads
        table = tables[segment[r]]
        skip, first = begin[r], extra_start[r]
        n = seen[r] - skip
        total = n + extra_start[r + 1] - first
        if total == 0:
            continue
        scores = np.empty((group, total), qkv.dtype)
        for t in range(total):
            place = t + skip if t < n else extra[first + t - n]
            key = keys[table[place // block_tokens], h, place % block_tokens]
            for g in range(group):
                q = qkv[r, h * group + g]
                dot = qkv.dtype.type(0)
                for j in range(width):
                    dot += q[j] * key[j]
                scores[g, t] = dot * scale
        for g in range(group):
            o = out[r, h * group + g]
            _weigh(scores[g], skip > 0, lse[r, h * group + g] if skip > 0 else qkv.dtype.type(0), o)
            for t in range(total):
                place = t + skip if t < n else extra[first + t - n]
                value = values[table[place // block_tokens], h, place % block_tokens]
                p = scores[g, t]
                for j in range(width):
                    o[j] += p * value[j]
