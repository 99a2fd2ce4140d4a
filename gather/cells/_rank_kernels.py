"""Compiled loops that rank the genes of each cell by expression; `gather.cells.cell_ranking` calls them."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from gather._compiled import compiled

Array = npt.NDArray[Any]


@compiled
def _insert(value: float, column: int, n: int, values: Array, columns: Array, order: Array) -> int:
    """Keep the greatest in descending order, equals by `order` of their columns; return how many are kept."""
    top = len(values)
    last = columns[top - 1]
    if n == top and (value < values[top - 1] or (value == values[top - 1] and order[column] > order[last])):
        return n
    slot = n if n < top else top - 1
    while slot > 0 and (
        values[slot - 1] < value or (values[slot - 1] == value and order[columns[slot - 1]] > order[column])
    ):
        values[slot] = values[slot - 1]
        columns[slot] = columns[slot - 1]
        slot -= 1
    values[slot] = value
    columns[slot] = column
    return min(n + 1, top)


@compiled
def rank_sparse(
    indptr: Array, indices: Array, data: Array, order: Array, columns: Array, n_genes: Array
) -> None:
    """Fill `columns` [cells, top] with each cell's most expressed genes, `n_genes` with how many; CSR rows.

    Equals come by `order` [genes], so that neither the storage of the matrix nor the order of its columns decides. A
    negative `order` marks genes that take no part.
    """
    values = np.empty(columns.shape[1], np.float64)
    for cell in range(len(indptr) - 1):
        n = 0
        for i in range(indptr[cell], indptr[cell + 1]):
            if data[i] > 0 and order[indices[i]] >= 0:
                n = _insert(data[i], indices[i], n, values, columns[cell], order)
        n_genes[cell] = n


@compiled
def rank_dense(block: Array, order: Array, columns: Array, n_genes: Array) -> None:
    """As `rank_sparse`, for a dense block."""
    values = np.empty(columns.shape[1], np.float64)
    for cell in range(block.shape[0]):
        n = 0
        for column in range(block.shape[1]):
            if block[cell, column] > 0 and order[column] >= 0:
                n = _insert(block[cell, column], column, n, values, columns[cell], order)
        n_genes[cell] = n
