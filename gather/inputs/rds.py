"""R objects that ``saveRDS`` wrote: Seurat, SingleCellExperiment, a sparse matrix, or markers; rdata reads them."""

from __future__ import annotations

import warnings
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gather.inputs.marker_columns import columns_of, wanted_columns
from gather.inputs.marker_tables import MarkerTable, listed, table_of_frame
from vckg.base.errors import InputError, first_line
from vckg.base.resources import resource

if TYPE_CHECKING:
    import anndata as ad
    import scipy.sparse as sp

_WANTED = "a Seurat or SingleCellExperiment object, a dgCMatrix, or a data.frame or list of markers"
_MARKS = {"gene", "fold", "natural fold"}


def read_rds(path: Path) -> ad.AnnData | MarkerTable:
    """Read cells or markers that R saved.

    Raises
    ------
    InputError
        rdata is not installed, or cannot read the object; the message gives the line of R that writes it.
    """
    script = resource("data", "vckg.R")
    by_r = f"or let R write it: Rscript {script} export {path} {path.stem}.h5ad"
    if find_spec("rdata") is None:
        raise InputError(
            f"{path}: is an R object, which rdata reads; install it: pip install 'vckg[inputs]', {by_r}"
        )
    import rdata

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # rdata remarks on every class that it has no type for
            found = rdata.read_rds(path)
        made = _markers(found, path)
        made = _cells(found) if made is None else made
    except InputError:
        raise
    except Exception as error:
        raise InputError(
            f"{path}: rdata cannot read it, it may be damaged or keep its values elsewhere "
            f"({first_line(error)}); {by_r}"
        ) from error
    if made is None:
        raise InputError(
            f"{path}: is an R object of class {_class(found)}; wanted {_WANTED}; write such a one with saveRDS()"
        )
    return made


def _class(found: Any) -> str:
    named = getattr(found, "class", None)
    return type(found).__name__ if named is None else str(named[0])


def _markers(found: Any, path: Path) -> MarkerTable | None:
    """Return the markers of a data.frame, of a list of them, or of a list of genes; None for anything else."""
    import numpy as np
    import pandas as pd

    if isinstance(found, dict) and found:
        parts = list(found.values())
        if all(isinstance(part, pd.DataFrame) for part in parts):
            tables = [_with_genes(part.assign(cluster=str(name))) for name, part in found.items()]
            found = pd.concat(tables, ignore_index=True)
        elif all(isinstance(part, np.ndarray) and part.dtype.kind in "UO" for part in parts):
            genes = [(str(name), [str(gene) for gene in part]) for name, part in found.items()]
            return listed(path, "list of genes per cluster", genes)
    if not isinstance(found, pd.DataFrame):
        return None
    if not columns_of([str(c) for c in found.columns]).keys() & _MARKS:
        raise InputError(f"{path}: is a data.frame; {wanted_columns([str(c) for c in found.columns])}")
    return table_of_frame(_with_genes(found), where=str(path))


def _with_genes(frame: Any) -> Any:
    """Return a table with its genes in a column; FindMarkers keeps them as row names."""
    if "gene" in columns_of([str(c) for c in frame.columns]):
        return frame
    return frame.rename_axis("gene").reset_index()


def _cells(found: Any) -> ad.AnnData | None:
    parts = dict(getattr(found, "__dict__", {}))
    if "Dimnames" in parts:
        genes, cells = parts["Dimnames"]
        return _made(_csr(found), genes, cells, None)
    if "active.assay" in parts:
        values, genes, cells = _of_assay(parts["assays"][parts["active.assay"][0]])
        obs = parts["meta.data"].assign(ident=parts["active.ident"])
        return _made(values, genes, cells, obs)
    if "colData" in parts and "assays" in parts:
        return _of_experiment(parts)
    return None


def _made(values: sp.csr_matrix, genes: Any, cells: Any, obs: Any) -> ad.AnnData:
    import anndata as ad
    import pandas as pd

    index = pd.Index([str(name) for name in cells])
    frame = pd.DataFrame(index=index) if obs is None else obs.set_axis(index)
    return ad.AnnData(values, obs=frame, var=pd.DataFrame(index=[str(name) for name in genes]))


def _csr(matrix: Any) -> sp.csr_matrix:
    """Return genes by cells of R as cells by genes; every index is checked."""
    import numpy as np
    import scipy.sparse as sp

    if not hasattr(matrix, "Dim"):
        return sp.csr_matrix(np.asarray(matrix).T)
    genes, cells = (int(n) for n in matrix.Dim)
    made = sp.csr_matrix((matrix.x, matrix.i, matrix.p), shape=(cells, genes))  # columns of R are rows here
    made.check_format(full_check=True)
    return made


def _of_assay(assay: Any) -> tuple[sp.csr_matrix, Any, Any]:
    """Return values, genes and cells of an assay of Seurat 3 and 4, or the joined layers of one of Seurat 5."""
    parts = vars(assay)
    if "layers" not in parts:
        kept = [parts[slot] for slot in ("counts", "data") if len(getattr(parts.get(slot), "x", ()))]
        matrix = kept[0]
        genes, cells = matrix.Dimnames
        return _csr(matrix), genes, cells
    import scipy.sparse as sp

    kind = "counts" if any(str(name).startswith("counts") for name in parts["layers"]) else "data"
    names = [name for name in parts["layers"] if str(name).startswith(kind)]
    genes, cells = (parts[axis].coords["dim_0"].values for axis in ("features", "cells"))
    total = sp.csr_matrix((len(cells), len(genes)))
    for name in names:
        rows, columns = (
            parts[axis].sel(dim_1=str(name)).values.nonzero()[0] for axis in ("cells", "features")
        )
        part = _csr(parts["layers"][name]).tocoo()
        placed = (part.data, (rows[part.row], columns[part.col]))
        total = total + sp.csr_matrix(placed, shape=total.shape)
    return total.tocsr(), genes, cells


def _of_experiment(parts: dict[str, Any]) -> ad.AnnData:
    """Return the cells of a SingleCellExperiment."""
    import pandas as pd

    kept = parts["assays"].data.listData
    matrix = kept["counts"] if "counts" in kept else next(iter(kept.values()))
    names = getattr(matrix, "Dimnames", None) or [parts.get("NAMES"), None]
    genes = names[0] if names[0] is not None else parts["rowRanges"].partitioning.NAMES
    cells = parts["colData"].rownames
    columns = {str(name): v for name, v in parts["colData"].listData.items() if len(v) == len(cells)}
    return _made(_csr(matrix), genes, cells, pd.DataFrame(columns, index=list(cells)))
