"""Compiled inner loops of `benchmarks.published_score`. They hold no lock and no state."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from gather._compiled import compiled

Array = npt.NDArray[Any]


@compiled
def _popcount(word: Any) -> Any:
    word = word - ((word >> np.uint64(1)) & np.uint64(0x5555555555555555))
    word = (word & np.uint64(0x3333333333333333)) + ((word >> np.uint64(2)) & np.uint64(0x3333333333333333))
    word = (word + (word >> np.uint64(4))) & np.uint64(0x0F0F0F0F0F0F0F0F)
    return (word * np.uint64(0x0101010101010101)) >> np.uint64(56)


@compiled
def _add_rows(codes: Array, genes: Array, weights: Array, n: int, sums: Array) -> None:
    """Add ``weights[i] * codes[genes[i]]`` to `sums`, four rows at a time so that sums stay in registers."""
    width = codes.shape[1]
    sums[:] = np.float32(0.0)
    i = 0
    while i + 4 <= n:
        a, b, c, d = codes[genes[i]], codes[genes[i + 1]], codes[genes[i + 2]], codes[genes[i + 3]]
        wa, wb, wc, wd = weights[i], weights[i + 1], weights[i + 2], weights[i + 3]
        for j in range(width):
            sums[j] += (
                wa * np.float32(a[j]) + wb * np.float32(b[j]) + wc * np.float32(c[j]) + wd * np.float32(d[j])
            )
        i += 4
    while i < n:
        row, weight = codes[genes[i]], weights[i]
        for j in range(width):
            sums[j] += weight * np.float32(row[j])
        i += 1


@compiled
def _kth_largest(sums: Array, n: int, k: int, best: Array) -> Any:
    """The k-th largest of ``sums[:n]``; `best` is scratch of length k."""
    best[:k] = np.float32(-1.0)
    last = np.float32(-1.0)
    for j in range(n):
        value = sums[j]
        if value > last:
            place = k - 1
            while place > 0 and best[place - 1] < value:
                best[place] = best[place - 1]
                place -= 1
            best[place] = value
            last = best[k - 1]
    return last


@compiled
def _union(bits: Array, genes: Array, n: int, union: Array) -> int:
    """How many targets the first `n` genes reach together; `union` is scratch."""
    union[:] = 0
    for i in range(n):
        row = bits[genes[i]]
        for w in range(len(union)):
            union[w] |= row[w]
    reached = 0
    for w in range(len(union)):
        reached += _popcount(union[w])
    return reached


@compiled
def _pick(
    rounded: Array, near: Array, exact: Array, m: int, column_of: Array, columns: Array, scores: Array
) -> None:
    """Take the best of `m` candidates place by place; `near` ascends, so the first of equals is the lower
    CURIE.
    """
    for place in range(min(len(columns), m)):
        winner = -1
        for j in range(m):
            if rounded[j] >= 0 and (winner < 0 or rounded[j] > rounded[winner]):
                winner = j
        columns[place] = column_of[near[winner]]
        scores[place] = exact[winner]
        rounded[winner] = -1.0


@compiled
def _sum_again(codes: Array, genes: Array, weights: Array, n: int, j: int) -> float:
    """The score of one candidate in float64, in the order of the query."""
    total = 0.0
    for i in range(n):
        total += weights[i] * (codes[genes[i], j] / 4.0)
    return total


@compiled
def paper_chunk(
    codes: Array,
    bits: Array,
    df: Array,
    column_of: Array,
    ranks: Array,
    rows: Array,
    columns: Array,
    scores: Array,
    reached: Array,
    slack: float,
    decimals: int,
) -> None:
    """Fill `columns`, `scores` and `reached` of every query, see `benchmarks.published_score.paper_batch`."""
    n_queries, longest = rows.shape
    n_columns = len(column_of)
    genes = np.empty(longest, np.int64)
    weights = np.empty(longest, np.float64)
    single = np.empty(longest, np.float32)
    sums = np.empty(codes.shape[1], np.float32)
    best = np.empty(columns.shape[1], np.float32)
    near = np.empty(n_columns, np.int64)
    exact = np.empty(n_columns, np.float64)
    rounded = np.empty(n_columns, np.float64)
    union = np.empty(bits.shape[1], np.uint64)
    scale = 10.0**decimals
    for q in range(n_queries):
        n = 0
        for i in range(longest):
            if rows[q, i] >= 0:
                genes[n] = rows[q, i]
                weights[n] = ranks[i]
                n += 1
        n_reached = _union(bits, genes, n, union)
        reached[q] = n_reached
        if n_reached == 0:
            continue
        for i in range(n):
            weights[i] *= np.log(n_reached / df[genes[i]] + 1.0)
            single[i] = np.float32(weights[i])
        _add_rows(codes, genes, single, n, sums)
        cut = _kth_largest(sums, n_columns, min(len(best), n_reached), best) * (1.0 - slack)
        m = 0
        for j in range(n_columns):
            if sums[j] >= cut and sums[j] > 0:
                near[m] = j
                exact[m] = _sum_again(codes, genes, weights, n, j)
                rounded[m] = np.rint(exact[m] * scale)
                m += 1
        _pick(rounded, near, exact, m, column_of, columns[q], scores[q])
