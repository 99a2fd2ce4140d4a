"""A matrix of expression as text: csv or tsv, cells by genes or genes by cells."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from gather.inputs.marker_columns import columns_of, wanted_columns
from gather.inputs.text import head_of_text, header_of, open_text, separator_of, writes_decimal_commas
from vckg.base.errors import InputError, first_line

if TYPE_CHECKING:
    import anndata as ad

    from vckg.graph.graph import Graph

_OF_A_TEST = ("_p_val", "_p_val_adj", "_pval", "_pvals", "_pvals_adj", "_padj", "log2fc", "_logfc", "_pct.1", "_pct.2",
              "_logfoldchanges")  # fmt: skip
"""Endings of columns that a test of markers writes, in lower case."""


def read_text_matrix(path: Path, graph: Graph) -> ad.AnnData:
    """Read a matrix whose first row and first column hold names; the axis whose names the graph knows are the genes.

    Raises
    ------
    InputError
        A field is no number, a row is cut off, neither axis holds known genes, or the columns are those of a test.
    """
    import anndata as ad
    import numpy as np
    import pandas as pd
    import scipy.sparse as sp

    head = head_of_text(path)
    _refuse_a_test(path, header_of(head))
    decimal = "," if writes_decimal_commas(head) else "."
    try:
        with open_text(path) as file:
            frame = pd.read_csv(
                file, sep=separator_of(head), decimal=decimal, index_col=0, dtype={0: str}, low_memory=False
            )
        values = frame.to_numpy(dtype=np.float32)
    except (ValueError, pd.errors.ParserError) as error:
        raise InputError(
            f"{path}: is no matrix of numbers and no table of markers ({first_line(error)}); a matrix has names in its "
            f"first row and column and numbers elsewhere; {wanted_columns(header_of(head))}"
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


def _refuse_a_test(path: Path, header: list[str]) -> None:
    """Refuse a table of a test as a matrix: its columns are measures such as ``p_val``, no cells and no genes."""
    measures = {name for meaning, name in columns_of(header).items() if meaning not in ("gene", "cluster")}
    measures |= {name for name in header if name.lower().endswith(_OF_A_TEST)}
    shown = [name for name in header if name in measures]
    if len(shown) > 1:
        raise InputError(
            f"{path}: columns such as {', '.join(shown[:3])} are of a test of markers; {wanted_columns(header)}"
        )
