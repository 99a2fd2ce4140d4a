"""Small files in the form of the paper's public files, without random numbers: every value is arithmetic."""

import anndata as ad
import numpy as np
import pandas as pd
import scipy.sparse as sp

from gather.benchmark.paper_protocol import paper_sets

LABELS = {
    "immune": ["plasma cell", "animal cell", "mast cell", "naive B cell", "regulatory T cell"],
    "lung": ["nk cell", "type i pneumocyte", "b cell", "macrophage", "novel cell"],
}
ODD_NAMES = [
    *(
        "RPL3",
        "RPSA",
        "MT-CO1",
        "ATP1A2",
        "RP11-34P13.7",
        "CTD-2",
        "CTE-1",
        "LINC001",
        "AC12345.1",
        "AC1234.1",
    ),
    *(
        "ENSG00000",
        "FOO-AS1",
        "BAR-DT",
        "actb",
        "RNU6",
        "RN7SK",
        "MIR21",
        "MIRLET",
        "SNORD3",
        "SCARNA2",
        "RNA5S",
    ),
    *("MTRNR2L1", "RF00019", "RF001", "EEF1A1", "TMSB10", "TMSB101", "DUP", "DUP"),
]


def public_form(name: str) -> ad.AnnData:
    """Return 120 cells of five labels and 130 genes; ``lung`` has its counts in ``.raw`` and fewer genes outside."""
    test_set, labels = paper_sets()[name], LABELS[name]
    names = [f"GENE{i}" for i in range(130 - len(ODD_NAMES))] + ODD_NAMES
    cell, gene = np.meshgrid(np.arange(120), np.arange(130), indexing="ij")
    counts = (cell * cell * 7 + gene * gene * 13 + cell * gene) % 11 % 5
    counts[:, 3], counts[:, 5], counts[60:, -1] = 2, 0, 0
    column = [labels[(i * i + i // 7) % 5] for i in range(120)]
    obs = pd.DataFrame({test_set.label: pd.Categorical(column)}, index=[f"cell{i}" for i in range(120)])
    cells = ad.AnnData(sp.csr_matrix(counts.astype(np.float32)), obs, pd.DataFrame(index=names))
    if test_set.raw:
        cells.raw = cells.copy()
        cells = cells[:, :40].copy()
    return cells
