"""How one cell stands out from the other cells of its file: the second stage of single cells.

A cell has no average expression to compare. What it has is which genes it expresses and which it lacks, and how
often other cells express them (`gather.retrieval.query.detection_contrasts`).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import scipy.sparse as sp

from gather.retrieval.query import Panel, detection_contrasts

if TYPE_CHECKING:
    from gather.cells.row_blocks import Block
    from gather.retrieval.metapaths import Sparse

Array = npt.NDArray[Any]
Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class CellContrast:
    """The sum of contrast times evidence for any cell of a file.

    Attributes
    ----------
    nothing
        Of a cell that expresses no gene, float64[candidates].
    gain
        What each expressed gene adds, float64 CSC [panel columns, candidates].
    """

    nothing: Floats
    gain: Sparse

    @classmethod
    def of(cls, panel: Panel, evidence: Sparse) -> CellContrast:
        """Return the contrast of a panel with known detection; `evidence` is [panel columns, candidates]."""
        assert panel.detected is not None
        lacks, has = (np.where(panel.nodes >= 0, z, 0.0) for z in detection_contrasts(panel.detected))
        gain = sp.csc_array(sp.diags_array(has - lacks) @ evidence)
        gain.sort_indices()
        return cls(np.asarray(lacks @ evidence, dtype=np.float64).ravel(), gain)

    @cached_property
    def arrays(self) -> tuple[Array, Array, Array, Array]:
        """The parts, as compiled loops read them: no index is negative."""
        gain = self.gain
        return self.nothing, gain.indptr.astype(np.int64), gain.indices.astype(np.uint32), gain.data

    def of_cell(self, expressed: Array) -> Floats:
        """Return the sums of one cell from its expressed genes, columns of the panel, float64[candidates]."""
        flags = np.zeros(self.gain.shape[0])
        flags[expressed] = 1.0
        return self.nothing + np.asarray(flags @ self.gain, dtype=np.float64).ravel()


def expressed_genes(block: Block) -> tuple[Array, Array]:
    """Return the genes that each cell expresses, CSR parts [cells, genes]."""
    if isinstance(block, np.ndarray):
        cells, genes = np.nonzero(block > 0)
        return np.searchsorted(cells, np.arange(len(block) + 1)), genes
    if (block.data > 0).all():
        return block.indptr, block.indices
    kept = sp.csr_array(block > 0)
    return kept.indptr, kept.indices
