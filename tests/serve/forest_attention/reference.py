"""Execute a plan in numpy: the definition for tests of the fast executors."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from serve.forest_attention.plan import Plan

Floats = npt.NDArray[np.floating]


def pac(query: Floats, keys: Floats, values: Floats, scale: float) -> tuple[Floats, Floats]:
    """Partial attention of query rows over one run of keys.

    Parameters
    ----------
    query
        [rows, heads, d]; `heads` is a multiple of the key-value heads, whose groups are consecutive.
    keys, values
        [tokens, kv_heads, d].
    scale
        Factor on the scores, usually ``d ** -0.5``.

    Returns
    -------
    The softmax-weighted values [rows, heads, d], and the log-sum-exp of the scores [rows, heads].
    """
    group = query.shape[1] // keys.shape[1]
    spread_keys, spread_values = np.repeat(keys, group, axis=1), np.repeat(values, group, axis=1)
    scores = np.einsum("rhd,thd->rht", query, spread_keys) * scale
    top = scores.max(axis=2, keepdims=True)
    weights = np.exp(scores - top)
    total = weights.sum(axis=2, keepdims=True)
    return np.einsum("rht,thd->rhd", weights / total, spread_values), (top + np.log(total))[..., 0]


def por(out_a: Floats, lse_a: Floats, out_b: Floats, lse_b: Floats) -> tuple[Floats, Floats]:
    """Merge two partials of the same rows; associative and commutative, with (0, -inf) as its identity."""
    lse = np.logaddexp(lse_a, lse_b)
    safe = np.where(np.isneginf(lse), 0.0, lse)
    merged = np.exp(lse_a - safe)[..., None] * out_a + np.exp(lse_b - safe)[..., None] * out_b
    return merged, lse


def execute(plan: Plan, query: Floats, keys: Floats, values: Floats, scale: float) -> tuple[Floats, Floats]:
    """Attention of every row over its context.

    `query` is [rows, heads, d]; `keys` and `values` are the cache, [slots, kv_heads, d]. Returns the output
    [rows, heads, d] and its log-sum-exp [rows, heads]; a row without context gives 0 and -inf.
    """
    partial_out = np.zeros((len(plan.rows), *query.shape[1:]), query.dtype)
    partial_lse = np.full((len(plan.rows), query.shape[1]), -np.inf, query.dtype)
    for task in range(len(plan.n_tokens)):
        span = slice(plan.row_indptr[task], plan.row_indptr[task + 1])
        slots = plan.slots(task)
        partial_out[span], partial_lse[span] = pac(query[plan.rows[span]], keys[slots], values[slots], scale)
    out = np.zeros_like(query)
    lse = np.full(query.shape[:2], -np.inf, query.dtype)
    for row in range(plan.n_rows):
        for partial in plan.merge[plan.merge_indptr[row] : plan.merge_indptr[row + 1]]:
            out[row], lse[row] = por(out[row], lse[row], partial_out[partial], partial_lse[partial])
    return out, lse


def attention(
    query: Floats, keys: Floats, values: Floats, slots: npt.NDArray[np.int64], scale: float
) -> Floats:
    """Plain attention of one row, [heads, d], over the given cache slots: what `execute` must equal."""
    if not len(slots):
        return np.zeros_like(query)
    out, _ = pac(query[None], keys[slots], values[slots], scale)
    result: Floats = out[0]
    return result
