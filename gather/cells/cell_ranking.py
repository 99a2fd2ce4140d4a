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
        """Return how often each gene is in the query of a cell, float64[genes], above 0 where any cell expresses it.

        It is the background of the null of single cells. Read are all cells of a small file, `SAMPLED` of a large one.
        """
        n = rows.shape[0]
        runs = [(0, n)]
        if n > SAMPLED:
            starts = np.linspace(0, n - SAMPLED // RUNS, RUNS).astype(int).tolist()
            runs = [(low, low + SAMPLED // RUNS) for low in starts]
        count, cells = np.zeros(len(self._order)), 0
        for span in (span for run in runs for span in rows.spans(*run)):
            columns, n_genes = self.ranked(rows.block(*span))
            inside = np.arange(self.top) < n_genes[:, None]
            count += np.bincount(columns[inside], minlength=len(count))
            cells += len(n_genes)
        return np.asarray((count + self._detected) / (cells + 1), dtype=np.float64)
