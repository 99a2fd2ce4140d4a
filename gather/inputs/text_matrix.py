"""A matrix of expression as text: csv or tsv, cells by genes or genes by cells."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from gather.inputs.text import head_of_text, open_text, separator_of
from vckg.base.errors import InputError

if TYPE_CHECKING:
    import anndata as ad

    from vckg.graph.graph import Graph


def read_text_matrix(path: Path, graph: Graph) -> ad.AnnData:
    """Read a matrix whose first row and first column hold names; the axis whose names the graph knows are the genes.

    Raises
    ------
    InputError
        A field is no number, a row is cut off, or neither axis holds known genes.
    """
    import anndata as ad
    import numpy as np
    import pandas as pd
    import scipy.sparse as sp

    separator = separator_of(head_of_text(path))
    try:
        with open_text(path) as file:
            frame = pd.read_csv(file, sep=separator, index_col=0, dtype={0: str}, low_memory=False)
        values = frame.to_numpy(dtype=np.float32)
    except (ValueError, pd.errors.ParserError) as error:
        first = (str(error).splitlines() or ["no table"])[0][:160]
        raise InputError(
            f"{path}: is no matrix of numbers and no table of markers ({first}); wanted a first row and a first "
            "column of names and numbers in all other fields, or columns such as cluster, gene, avg_log2FC"
        ) from error
    rows, columns = [str(name) for name in frame.index], [str(name) for name in frame.columns]
    if not columns:
        raise InputError(
            f"{path}: is one column ({', '.join(rows[:3])}, ...); give clusters with their genes, or name genes to "
            "`gather explain`"
        )
    known = [sum(found.curie is not None for found in graph.genes.ground(names)) for names in (columns, rows)]
    if max(known) == 0:
        raise InputError(
            f"{path}: no gene is known in its first row ({', '.join(columns[:3])}, ...) nor in its first column "
            f"({', '.join(rows[:3])}, ...); give symbols or Ensembl ids"
        )
    cells, genes = (rows, columns) if known[0] >= known[1] else (columns, rows)
    return ad.AnnData(
        sp.csr_matrix(values if genes is columns else values.T),
        obs=pd.DataFrame(index=pd.Index(cells)),
        var=pd.DataFrame(index=pd.Index(genes)),
    )
