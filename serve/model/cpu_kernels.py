"""What a decoder layer does besides matrix products, compiled for the CPU (numba).

Each row is computed on its own and in a fixed order, so its bits do not depend on which rows go with it.
numpy has no bfloat16: such numbers come as their bits (uint16), and the kernels compute with them in float32.
`serve.model.torch_layers` has the same in torch, for GPUs and for prompt chunks; the tests hold the two together.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar, cast

import numba
import numpy as np
import numpy.typing as npt
import torch
from numba import types
from numba.extending import overload

Function = TypeVar("Function", bound=Callable[..., Any])
Floats = npt.NDArray[Any]
Ints = npt.NDArray[np.int32]


NOTHING = -1e30
"""Score of a place that holds no token."""


def as_array(tensor: torch.Tensor) -> Floats:
    """The tensor's memory as an array for the kernels: floats, or the bits of bfloat16."""
    return (tensor.view(torch.uint16) if tensor.dtype == torch.bfloat16 else tensor).numpy()


def _wide(value: Any) -> Any:
    """A number of an array as the kernels compute with it."""
    raise NotImplementedError("compiled only")


def _narrow(value: Any, array: Any) -> Any:
    """A number as `array` holds it; bfloat16 rounds to the nearest, half to even."""
    raise NotImplementedError("compiled only")


def _number(value: Any, array: Any) -> Any:
    """A number of the type in which the kernels compute with `array`."""
    raise NotImplementedError("compiled only")


@overload(_wide, inline="always")
def _compile_wide(value):  # type: ignore[no-untyped-def]
    if isinstance(value, types.Integer):
        return lambda value: np.uint32(np.uint32(value) << np.uint32(16)).view(np.float32)
    return lambda value: value


@overload(_narrow, inline="always")
def _compile_narrow(value, array):  # type: ignore[no-untyped-def]
    if not isinstance(array.dtype, types.Integer):
        return lambda value, array: value

    def round_to_even(value, array):  # type: ignore[no-untyped-def]
        bits = np.float32(value).view(np.uint32)
        odd = (bits >> np.uint32(16)) & np.uint32(1)
        return np.uint16((bits + np.uint32(0x7FFF) + odd) >> np.uint32(16))

    return round_to_even


@overload(_number, inline="always")
def _compile_number(value, array):  # type: ignore[no-untyped-def]
    if isinstance(array.dtype, types.Integer):
        return lambda value, array: np.float32(value)
    return lambda value, array: array.dtype.type(value)


def _exp(value: Any) -> Any:
    """The exponential of a number that is at most 0; of float32 in operations that run on many numbers at once."""
    raise NotImplementedError("compiled only")


@overload(_exp, inline="always")
def _compile_exp(value):  # type: ignore[no-untyped-def]
    if value != types.float32:
        return lambda value: np.exp(value)

    def power_of_two_times_polynomial(value):  # type: ignore[no-untyped-def]
        x = max(value, np.float32(-80)) * np.float32(1.44269504)  # log2(e)
        whole = np.floor(x)
        f = (x - whole) * np.float32(0.69314718)
        # The polynomial of degree 6 through exp at Chebyshev's points of 0 to log(2): 3e-9 of the value off at most.
        y = np.float32(0.00197157054) * f + np.float32(0.00774445198)
        y = y * f + np.float32(0.0419528335)
        y = y * f + np.float32(0.166596159)
        y = y * f + np.float32(0.500008225)
        y = y * f + np.float32(0.999999642)
        y = y * f + np.float32(1)
        power = np.uint32((np.int32(whole) + np.int32(127)) << np.int32(23)).view(np.float32)
        # Numbers smaller than float32's normal ones, which would come of less, are many times slower to compute with.
        return y * power if value > np.float32(-80) else np.float32(0)

    return power_of_two_times_polynomial


def _compiled(function: Function) -> Function:
    return cast(Function, numba.njit(fastmath=True, parallel=True, nogil=True, cache=True)(function))


def _helper(function: Function) -> Function:
    return cast(Function, numba.njit(fastmath=True, nogil=True, cache=True)(function))


@_helper
def _norm_scale(x: Floats, eps: float) -> Any:
    """One over the root mean square of x [d]."""
    square = _number(0, x)
    for j in range(len(x)):
        square += _wide(x[j]) * _wide(x[j])
    return _number(1, x) / np.sqrt(square / _number(len(x), x) + _number(eps, x))


@_compiled
def add_rms_norm(x: Floats, delta: Floats, weight: Floats, eps: float, out: Floats) -> None:
    """Add `delta` [r, h] (or nothing, if it has no rows) to `x` [r, h] in place, then norm rows into `out`."""
    rows, width = x.shape
    for r in numba.prange(rows):
        if delta.shape[0] > 0:
            for j in range(width):
                x[r, j] = _narrow(_wide(x[r, j]) + _wide(delta[r, j]), x)
        scale = _norm_scale(x[r], eps)
        for j in range(width):
            out[r, j] = _narrow(_wide(weight[j]) * (_wide(x[r, j]) * scale), out)


@_compiled
def silu_product(gate_up: Floats, out: Floats) -> None:
    """``silu(gate) * up`` of rows [r, 2 i], gate before up, into `out` [r, i]."""
    (rows, width), one = out.shape, _number(1, out)
    for r in numba.prange(rows):
        for j in range(width):
            gate, up = _wide(gate_up[r, j]), _wide(gate_up[r, j + width])
            small = _exp(-abs(gate))
            share = (one if gate > 0 else small) / (one + small)
            out[r, j] = _narrow(gate * share * up, out)


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
                scale = _norm_scale(x, eps)
                weight = q_norm if h < q_heads else k_norm
                for j in range(width):
                    x[j] = _narrow(_wide(weight[j]) * (_wide(x[j]) * scale), x)
            for j in range(half):
                a, b, c, s = _wide(x[j]), _wide(x[j + half]), _wide(cos[r, j]), _wide(sin[r, j])
                x[j] = _narrow(a * c - b * s, x)
                x[j + half] = _narrow(b * c + a * s, x)
        for h in range(kv_heads):
            for j in range(width):
                keys[block, h, offset, j] = qkv[r, q_heads + h, j]
                values[block, h, offset, j] = qkv[r, q_heads + kv_heads + h, j]


@_helper
def _weigh(scores: Floats, merges: bool, lse: float, out: Floats) -> None:
    """Turn scores into softmax weights in place, and `out` into what it contributes: attention with `lse`, or 0."""
    largest = scores[0]
    for t in range(1, len(scores)):
        largest = max(largest, scores[t])
    if merges:
        largest = max(largest, lse)
    norm = scores.dtype.type(0)
    for t in range(len(scores)):
        scores[t] = _exp(scores[t] - largest)
        norm += scores[t]
    before = scores.dtype.type(0)
    if merges:
        before = np.exp(lse - largest)
        norm += before
    for t in range(len(scores)):
        scores[t] /= norm
    for j in range(len(out)):
        out[j] = out[j] * (before / norm) if merges else 0


@_helper
def _places(table: Ints, size: int, skip: int, n: int, extra: Ints, heads: int, head: int) -> Ints:
    """Rows of a layer's pages [rows, d] with a head's `n` tokens behind `skip` and its `extra` ones.

    The last is repeated up to a multiple of four.
    """
    total = n + len(extra)
    places = np.empty((total + 3) & ~3, np.int32)
    block, offset = skip // size, skip % size
    for t in range(n):
        places[t] = (table[block] * heads + head) * size + offset
        offset += 1
        if offset == size:
            block, offset = block + 1, 0
    for t in range(n, total):
        places[t] = (table[extra[t - n] // size] * heads + head) * size + extra[t - n] % size
    for t in range(total, len(places)):
        places[t] = places[total - 1]
    return places


@_helper
def _score(queries: Floats, keys: Floats, places: Ints, scores: Floats) -> None:
    """Dot products of `queries` [g, d] with the keys [rows, d] at the places, into `scores` [g, n]; four at a time."""
    zero = scores.dtype.type(0)
    for t in range(0, len(places), 4):
        a, b, c, d = keys[places[t]], keys[places[t + 1]], keys[places[t + 2]], keys[places[t + 3]]
        for g in range(len(queries)):
            q, dot_a, dot_b, dot_c, dot_d = queries[g], zero, zero, zero, zero
            for j in range(len(q)):
                dot_a += q[j] * _wide(a[j])
                dot_b += q[j] * _wide(b[j])
                dot_c += q[j] * _wide(c[j])
                dot_d += q[j] * _wide(d[j])
            scores[g, t], scores[g, t + 1], scores[g, t + 2], scores[g, t + 3] = dot_a, dot_b, dot_c, dot_d


@_helper
def _add_weighted(weights: Floats, values: Floats, places: Ints, sums: Floats) -> None:
    """Add the values [rows, d] at the places, weighed by `weights` [g, n], to `sums` [g, d]; four at a time."""
    for t in range(0, len(places), 4):
        a, b, c, d = values[places[t]], values[places[t + 1]], values[places[t + 2]], values[places[t + 3]]
        for g in range(len(sums)):
            o, w = sums[g], weights[g]
            v, x, y, z = w[t], w[t + 1], w[t + 2], w[t + 3]
            for j in range(len(o)):
                o[j] += v * _wide(a[j]) + x * _wide(b[j]) + y * _wide(c[j]) + z * _wide(d[j])


@_compiled
def attend(
    qkv: Floats,
    rows: npt.NDArray[np.int64],
    segment: Ints,
    seen: Ints,
    extra_start: Ints,
    extra: Ints,
    tables: Ints,
    keys: Floats,
    values: Floats,
    begin: Ints,
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
    scale = _number(1, qkv) / np.sqrt(_number(width, qkv))
    all_keys, all_values = keys.reshape(-1, width), values.reshape(-1, width)
    for task in numba.prange(len(rows) * kv_heads):
        r, h = rows[task // kv_heads], task % kv_heads
        table = tables[segment[r]]
        skip, first = begin[r], extra_start[r]
        n = seen[r] - skip
        total = n + extra_start[r + 1] - first
        if total == 0:
            continue
        places = _places(table, block_tokens, skip, n, extra[first : extra_start[r + 1]], kv_heads, h)
        queries = np.empty((group, width), lse.dtype)
        sums = np.empty((group, width), lse.dtype)
        for g in range(group):
            for j in range(width):
                queries[g, j] = _wide(qkv[r, h * group + g, j]) * scale
                sums[g, j] = _wide(out[r, h * group + g, j])
        scores = np.empty((group, len(places)), lse.dtype)
        _score(queries, all_keys, places, scores)
        for g in range(group):
            for t in range(total, len(places)):
                scores[g, t] = NOTHING
            _weigh(scores[g], skip > 0, lse[r, h * group + g] if skip > 0 else lse.dtype.type(0), sums[g])
        _add_weighted(scores, all_values, places, sums)
        for g in range(group):
            for j in range(width):
                out[r, h * group + g, j] = _narrow(sums[g, j], out)


@_compiled
def copy_pages(pages: Floats, blocks: npt.NDArray[np.int64], out: Floats) -> None:
    """Copy the keys and values of the first n tokens of `blocks` from one layer's cache to `out` [2, kv heads, n, d].

    `pages` is [2, blocks, kv heads, block tokens, d].
    """
    (_, kv_heads, tokens, width), size = out.shape, pages.shape[3]
    used = (tokens + size - 1) // size
    for task in numba.prange(2 * used):
        which, i = task // used, task % used
        for h in range(kv_heads):
            for t in range(min(size, tokens - i * size)):
                for j in range(width):
                    out[which, h, i * size + t, j] = pages[which, blocks[i], h, t, j]
