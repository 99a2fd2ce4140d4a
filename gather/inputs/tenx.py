"""Files of Cell Ranger and of tools that write alike: ``.h5`` and the folder of three files."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import scipy.io
import scipy.sparse as sp

from gather.inputs.kinds import matrix_files
from gather.inputs.text import DAMAGED
from vckg.base.errors import InputError, first_line

if TYPE_CHECKING:
    import anndata as ad

_EXPRESSION = "Gene Expression"


def read_h5(path: Path) -> ad.AnnData:
    """Read a 10x ``.h5`` of Cell Ranger 2 or later: the genes, not the antibodies. Symbols name the genes."""
    import h5py

    with h5py.File(path) as file:
        genomes = [name for name, item in file.items() if isinstance(item, h5py.Group)]
        if "matrix" not in genomes and len(genomes) > 1:
            raise InputError(
                f"{path}: holds {len(genomes)} genomes ({', '.join(genomes)}); write each to a file of its own, e.g. "
                f"scanpy.read_10x_h5(path, genome={genomes[0]!r}).write_h5ad('{genomes[0]}.h5ad')"
            )
        group = file["matrix" if "matrix" in genomes else genomes[0]]
        features = group.get("features", group)
        named = ("id", "name", "feature_type") if "features" in group else ("genes", "gene_names")
        missing = [name for name in named if name not in features]
        if missing:
            raise InputError(f"{path}: {features.name} has no {missing[0]}; the file is damaged")
        columns = [features[name].asstr()[:] for name in named]
        parts = (group["data"][:].astype(np.float32), group["indices"][:], group["indptr"][:])
        n_genes, n_cells = group["shape"][:].tolist()
        barcodes = group["barcodes"].asstr()[:]
    return _cells(sp.csr_matrix(parts, shape=(n_cells, n_genes)), columns, barcodes)


def read_folder(path: Path) -> ad.AnnData:
    """Read a folder of matrix, genes or features, and barcodes: versions 2 and 3, gzipped or not.

    The three names may begin with a sample's name.

    Raises
    ------
    InputError
        A file is missing or damaged, the folder holds several matrices, or the three do not belong together.
    """
    matrix, genes, barcodes = _three_files(path)
    values = sp.csr_matrix(_whole(matrix, scipy.io.mmread).T, dtype=np.float32)
    table, listed = (_whole(file, _names) for file in (genes, barcodes))
    names = listed[0].to_numpy()
    if values.shape != (len(names), len(table)):
        raise InputError(
            f"{matrix}: has {values.shape[1]:,} rows and {values.shape[0]:,} columns, {genes.name} names "
            f"{len(table):,} genes and {barcodes.name} {len(names):,} cells; give files of one sample"
        )
    columns = [table[i].to_numpy() for i in range(min(3, table.shape[1]))]
    return _cells(values, columns if len(columns) > 1 else columns * 2, names)


def _names(path: Path) -> pd.DataFrame:
    return pd.read_csv(path, sep="\t", header=None, dtype=str, keep_default_na=False)


def _whole(path: Path, read: Callable[[Path], Any]) -> Any:
    """Return what a reader makes of a file; InputError where that is cut off or damaged."""
    try:
        return read(path)
    except (*DAMAGED, ValueError) as error:
        raise InputError(
            f"{path}: cannot be read, it may be cut off or damaged ({first_line(error)})"
        ) from error


def _cells(matrix: sp.csr_matrix, columns: list[Any], barcodes: Any) -> ad.AnnData:
    """Join the matrix with its names; `columns` are ids, symbols and, where the file has them, feature types.

    Names that occur twice stay: their ids tell them apart later.
    """
    import anndata as ad

    ids, symbols, *types = columns
    genes = pd.DataFrame({"gene_ids": ids}, index=pd.Index(symbols, dtype=object))
    if types:
        genes["feature_types"] = types[0]
    if types and (types[0] == _EXPRESSION).any():
        kept = np.flatnonzero(types[0] == _EXPRESSION)
        matrix, genes = matrix[:, kept], genes.iloc[kept]
    return ad.AnnData(matrix, obs=pd.DataFrame(index=pd.Index(barcodes, dtype=object)), var=genes)


def _three_files(path: Path) -> tuple[Path, Path, Path]:
    found = [path] if path.is_file() else matrix_files(path)
    if len(found) > 1:
        shown = ", ".join(file.name for file in found[:4])
        raise InputError(f"{path}: holds {len(found)} matrices ({shown}); give the path of one of them")
    matrix = found[0]
    prefix = matrix.name.removesuffix(".gz").removesuffix("matrix.mtx")
    others = []
    endings: tuple[tuple[str, ...], ...] = (("features.tsv", "genes.tsv"), ("barcodes.tsv",))
    for names in endings:
        candidates = [matrix.parent / f"{prefix}{name}{end}" for name in names for end in (".gz", "")]
        existing = [file for file in candidates if file.is_file()]
        if not existing:
            raise InputError(f"{matrix}: {prefix}{names[0]}(.gz) is missing in its folder; put it there")
        others.append(existing[0])
    return matrix, others[0], others[1]
