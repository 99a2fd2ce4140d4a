"""Compiled inner loops of per-cell annotation. They hold no lock and no state; `gather.annotate_cells`
drives them.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
from numba import njit

Array = npt.NDArray[Any]


@njit(cache=True, nogil=True)
def file_entries(
    rows: Array, columns: Array, values: Array, place: Array, indices: Array, data: Array
) -> None:
    """Put each entry at the next free place of its row."""
    for i in range(len(rows)):
        at = place[rows[i]]
        indices[at] = columns[i]
        data[at] = values[i]
        place[rows[i]] = at + 1


@njit(cache=True, nogil=True)
def _insert(strength: float, column: int, n: int, strengths: Array, columns: Array) -> int:
    """Keep the strongest in descending order, equals by column; return how many are kept."""
    top = len(strengths)
    if n == top and strength <= strengths[top - 1]:
        return n
    at = n if n < top else top - 1
    while at > 0 and strengths[at - 1] < strength:
        strengths[at] = strengths[at - 1]
        columns[at] = columns[at - 1]
        at -= 1
    strengths[at] = strength
    columns[at] = column
    return min(n + 1, top)


@njit(cache=True, nogil=True)
def rank_sparse(
    indptr: Array,
    indices: Array,
    data: Array,
    counts: bool,
    target: float,
    idf: Array,
    columns: Array,
    found: Array,
) -> None:
    """Fill `columns` [cells, top] with each cell's strongest genes by TF-IDF, `found` with how many; CSR
    rows.

    A negative `idf` marks genes that take no part.
    """
    strengths = np.empty(columns.shape[1], np.float64)
    for cell in range(len(indptr) - 1):
        total = 0.0
        for i in range(indptr[cell], indptr[cell + 1]):
            total += data[i]
        scale = target / total if counts and total > 0 else 1.0
        n = 0
        for i in range(indptr[cell], indptr[cell + 1]):
            weight = idf[indices[i]]
            if weight > 0 and data[i] > 0:
                value = np.log1p(data[i] * scale) if counts else data[i]
                n = _insert(value * weight, indices[i], n, strengths, columns[cell])
        found[cell] = n


@njit(cache=True, nogil=True)
def rank_dense(values: Array, counts: bool, target: float, idf: Array, columns: Array, found: Array) -> None:
    """As `rank_sparse`, for a dense block."""
    strengths = np.empty(columns.shape[1], np.float64)
    for cell in range(values.shape[0]):
        total = 0.0
        for column in range(values.shape[1]):
            total += values[cell, column]
        scale = target / total if counts and total > 0 else 1.0
        n = 0
        for column in range(values.shape[1]):
            if values[cell, column] > 0 and idf[column] > 0:
                value = np.log1p(values[cell, column] * scale) if counts else values[cell, column]
                n = _insert(value * idf[column], column, n, strengths, columns[cell])
        found[cell] = n


@njit(cache=True, nogil=True)
def best_candidates(
    columns: Array,
    found: Array,
    ranks: Array,
    indptr: Array,
    indices: Array,
    weights: Array,
    inverse_length: Array,
    best: Array,
    statistic: Array,
    share: Array,
    spread: Array,
    sharpness: float,
    decimals: int,
) -> None:
    """Score every candidate for every cell.

    Fills `best` (candidate, -1 for none), its `statistic`, the `share` of the query's weight that speaks
    for it, and
    `spread` [cells, candidates], the sharpened distribution. `weights` are CSR [panel columns, candidates].
    """
    n_candidates = len(inverse_length)
    sums = np.empty(n_candidates, np.float64)
    scale = 10.0**decimals
    for cell in range(len(found)):
        sums[:] = 0.0
        weight_sum = 0.0
        for i in range(found[cell]):
            gene, weight = columns[cell, i], ranks[i]
            weight_sum += weight
            for j in range(indptr[gene], indptr[gene + 1]):
                sums[indices[j]] += weight * weights[j]
        winner, top = -1, 0.0
        for c in range(n_candidates):
            score = np.rint(sums[c] * inverse_length[c] * scale)
            if score > top:
                winner, top = c, score
        best[cell] = winner
        if winner < 0:
            continue
        statistic[cell] = sums[winner]
        highest = sums[winner] * inverse_length[winner]
        total = 0.0
        for c in range(n_candidates):
            part = (sums[c] * inverse_length[c] / highest) ** sharpness if sums[c] > 0 else 0.0
            spread[cell, c] = part
            total += part
        for c in range(n_candidates):
            spread[cell, c] /= total
        speaking = 0.0
        for i in range(found[cell]):
            gene = columns[cell, i]
            for j in range(indptr[gene], indptr[gene + 1]):
                if indices[j] == winner:
                    speaking += ranks[i]
        share[cell] = speaking / weight_sum
