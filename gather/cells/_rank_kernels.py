"""Compiled loops that rank the genes of each cell by TF-IDF; `gather.cells.per_cell` calls them."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from gather._compiled import compiled

Array = npt.NDArray[Any]


@compiled
def _insert(strength: float, column: int, n: int, strengths: Array, columns: Array, order: Array) -> int:
    """Keep the strongest in descending order, equals by `order` of their columns; return how many are kept."""
    top = len(strengths)
    last = columns[top - 1]
    if n == top and (
        strength < strengths[top - 1] or (strength == strengths[top - 1] and order[column] > order[last])
    ):
        return n
    slot = n if n < top else top - 1
    while slot > 0 and (
        strengths[slot - 1] < strength
        or (strengths[slot - 1] == strength and order[columns[slot - 1]] > order[column])
    ):
        strengths[slot] = strengths[slot - 1]
        columns[slot] = columns[slot - 1]
        slot -= 1
    strengths[slot] = strength
    columns[slot] = column
    return min(n + 1, top)


@compiled
def _logged(value: Any, scale: float, cell: int, logs: Array, cell_of: Array) -> float:
    """``log1p(value * scale)``; most counts of a cell are the same few whole numbers, whose logarithms are kept."""
    whole = int(min(value, len(logs)))
    if whole == len(logs) or whole != value:
        return np.log1p(value * scale)  # type: ignore[no-any-return]
    if cell_of[whole] != cell:
        logs[whole], cell_of[whole] = np.log1p(value * scale), cell
    return logs[whole]  # type: ignore[no-any-return]


@compiled
def rank_sparse(
    indptr: Array,
    indices: Array,
    data: Array,
    counts: bool,
    target: float,
    idf: Array,
    order: Array,
    columns: Array,
    n_genes: Array,
) -> None:
    """Fill `columns` [cells, top] with each cell's strongest genes by TF-IDF, `n_genes` with how many; CSR
    rows.

    A negative `idf` marks genes that take no part. Genes that are equally strong come by `order` [genes], so that
    neither the storage of the matrix nor the order of its columns decides.
    """
    strengths = np.empty(columns.shape[1], np.float64)
    logs, cell_of = np.empty(64, np.float64), np.full(64, -1, np.int64)
    for cell in range(len(indptr) - 1):
        total = 0.0
        if counts:
            for i in range(indptr[cell], indptr[cell + 1]):
                total += data[i]
        scale = target / total if total > 0 else 1.0
        n = 0
        for i in range(indptr[cell], indptr[cell + 1]):
            weight = idf[indices[i]]
            if weight > 0 and data[i] > 0:
                value = _logged(data[i], scale, cell, logs, cell_of) if counts else data[i]
                n = _insert(value * weight, indices[i], n, strengths, columns[cell], order)
        n_genes[cell] = n


@compiled
def rank_dense(
    values: Array, counts: bool, target: float, idf: Array, order: Array, columns: Array, n_genes: Array
) -> None:
    """As `rank_sparse`, for a dense block."""
    strengths = np.empty(columns.shape[1], np.float64)
    logs, cell_of = np.empty(64, np.float64), np.full(64, -1, np.int64)
    for cell in range(values.shape[0]):
        total = 0.0
        if counts:
            for column in range(values.shape[1]):
                total += values[cell, column]
        scale = target / total if total > 0 else 1.0
        n = 0
        for column in range(values.shape[1]):
            if values[cell, column] > 0 and idf[column] > 0:
                value = (
                    _logged(values[cell, column], scale, cell, logs, cell_of)
                    if counts
                    else values[cell, column]
                )
                n = _insert(value * idf[column], column, n, strengths, columns[cell], order)
        n_genes[cell] = n
