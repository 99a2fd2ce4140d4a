"""The query of one cell: the genes that it expresses most, equals the rarer first.

Counts and their logarithms rank alike within a cell. What every cell expresses has no weight in the graph, so that
no inverse document frequency is needed; it would prefer the noise of rare genes (docs/results/suite.md).
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from gather.cells._rank_kernels import rank_dense, rank_sparse
from gather.cells.row_blocks import Block, Rows
from gather.retrieval.query import Panel

Array = npt.NDArray[Any]
Floats = npt.NDArray[np.float64]

SAMPLED, RUNS = 2000, 20
"""Cells, in so many runs over the file, from which `CellRanking.asked` is estimated."""


class CellRanking:
    """Ranks the genes of the cells of one file.

    Parameters
    ----------
    panel
        The measured genes, with the fraction of cells that express them.
    top
        Genes of a query.
    """

    def __init__(self, panel: Panel, top: int) -> None:
        assert panel.detected is not None
        self.top, self._detected = top, panel.detected
        known = np.flatnonzero(panel.nodes >= 0)
        self._order = np.full(len(panel.nodes), -1, np.int32)
        ordered = known[np.lexsort((panel.nodes[known], panel.detected[known]))]
        self._order[ordered] = np.arange(len(ordered), dtype=np.int32)

    def ranked(self, block: Block) -> tuple[Array, Array]:
        """Return each cell's genes, columns of the panel int32[cells, top], and how many there are, int32[cells]."""
        columns, n_genes = np.zeros((block.shape[0], self.top), np.int32), np.zeros(block.shape[0], np.int32)
        if isinstance(block, np.ndarray):
            rank_dense(block, self._order, columns, n_genes)
        else:
            rank_sparse(block.indptr, block.indices, block.data, self._order, columns, n_genes)
        return columns, n_genes

    def asked(self, rows: Rows) -> Floats:
        """Return how likely each gene stands at each rank of a cell's query, float64[top, genes], summing to 1 a rank.

        It is above 0 where any cell expresses the gene, and the null of single cells: cells whose genes are those of
        other cells at their ranks. Read are all cells of a small file, `SAMPLED` of a large one.
        """
        n = rows.shape[0]
        runs = [(0, n)]
        if n > SAMPLED:
            starts = np.linspace(0, n - SAMPLED // RUNS, RUNS).astype(int).tolist()
            runs = [(low, low + SAMPLED // RUNS) for low in starts]
        genes = len(self._order)
        count = np.zeros((self.top, genes))
        for span in (span for run in runs for span in rows.spans(*run)):
            columns, n_genes = self.ranked(rows.block(*span))
            rank, inside = np.arange(self.top), np.arange(self.top) < n_genes[:, None]
            flat = (rank * genes + columns)[inside]
            count += np.bincount(flat, minlength=count.size).reshape(count.shape)
        anywhere = count.sum(axis=0) + np.where(self._order >= 0, self._detected, 0.0)
        count += anywhere / max(anywhere.sum(), 1e-300)  # one more cell, which is like all of them
        return np.asarray(count / np.maximum(count.sum(axis=1, keepdims=True), 1e-300), dtype=np.float64)
