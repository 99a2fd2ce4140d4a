"""Write cells in the forms people bring: byte layouts of Cell Ranger, loompy, mudata, Seurat, presto, scanpy."""

from __future__ import annotations

import gzip
import shutil
import warnings
from pathlib import Path
from typing import Any

import anndata as ad
import h5py
import numpy as np
import pandas as pd
import scanpy as sc
import scipy.io
import scipy.sparse as sp
from anndata.io import write_elem


def tenx_h5(cells: ad.AnnData, path: Path, antibodies: int = 0) -> Path:
    """A ``filtered_feature_bc_matrix.h5`` of Cell Ranger 3 or later, with antibodies as of CITE-seq."""
    matrix = sp.hstack([sp.csr_matrix(cells.X), np.full((cells.n_obs, antibodies), 7)]).tocsr()
    tags = [f"CD{3 + i}_TotalSeqB" for i in range(antibodies)]
    names = np.array([*cells.var_names, *tags], dtype="S")
    with h5py.File(path, "w") as file:
        group = file.create_group("matrix")
        group["barcodes"] = np.array(cells.obs_names, dtype="S")
        group["data"] = matrix.data.astype(np.int32)
        group["indices"], group["indptr"] = matrix.indices.astype(np.int64), matrix.indptr.astype(np.int64)
        group["shape"] = np.array(matrix.shape[::-1], np.int32)
        features = group.create_group("features")
        features["id"] = features["name"] = names
        kinds = [b"Gene Expression"] * cells.n_vars + [b"Antibody Capture"] * antibodies
        features["feature_type"] = np.array(kinds)
        features["genome"] = np.array([b"GRCh38"] * len(names))
        features["_all_tag_keys"] = np.array([b"genome"])
    return path


def tenx_h5_v2(cells: ad.AnnData, path: Path) -> Path:
    """A ``filtered_gene_bc_matrices_h5.h5`` of Cell Ranger 2: one group a genome."""
    matrix = sp.csr_matrix(cells.X)
    with h5py.File(path, "w") as file:
        group = file.create_group("GRCh38")
        group["barcodes"] = np.array(cells.obs_names, dtype="S")
        group["genes"] = group["gene_names"] = np.array(cells.var_names, dtype="S")
        group["data"] = matrix.data.astype(np.int32)
        group["indices"], group["indptr"] = matrix.indices.astype(np.int64), matrix.indptr.astype(np.int64)
        group["shape"] = np.array(matrix.shape[::-1], np.int32)
    return path


def tenx_folder(
    cells: ad.AnnData, folder: Path, *, version: int = 3, gz: bool | None = None, prefix: str = ""
) -> Path:
    """The folder of three files; version 2 is plain and version 3 gzipped unless `gz` says otherwise."""
    folder.mkdir()
    scipy.io.mmwrite(folder / f"{prefix}matrix.mtx", sp.csr_matrix(cells.X).T.astype(int))
    (folder / f"{prefix}barcodes.tsv").write_text("".join(f"{name}\n" for name in cells.obs_names))
    third = "\tGene Expression" if version == 3 else ""
    genes = "features" if version == 3 else "genes"
    text = "".join(f"ENSG{i:011}\t{name}{third}\n" for i, name in enumerate(cells.var_names))
    (folder / f"{prefix}{genes}.tsv").write_text(text)
    if version == 3 if gz is None else gz:
        for file in list(folder.iterdir()):
            with file.open("rb") as source, gzip.open(f"{file}.gz", "wb") as target:
                shutil.copyfileobj(source, target)
            file.unlink()
    return folder


def zarr_store(cells: ad.AnnData, path: Path) -> Path:
    """``adata.write_zarr``."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        cells.write_zarr(path)
    return path


def spatialdata_store(cells: ad.AnnData, path: Path) -> Path:
    """The part of a SpatialData store that holds cells: ``tables/table``."""
    (path / "tables").mkdir(parents=True)
    (path / "zarr.json").write_text('{"zarr_format": 3, "node_type": "group", "attributes": {}}')
    return zarr_store(cells, path / "tables" / "table").parents[1]


def loom(cells: ad.AnnData, path: Path) -> Path:
    """What loompy writes."""
    import loompy

    of_cells = {name: values.astype(str).to_numpy(str) for name, values in cells.obs.items()}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        loompy.create(
            str(path),
            sp.csc_matrix(cells.X.T),
            {"Gene": cells.var_names.to_numpy(str)},
            {"CellID": cells.obs_names.to_numpy(str), **of_cells},
        )
    return path


def h5mu(cells: ad.AnnData, path: Path) -> Path:
    """The layout of mudata: ``mod/NAME`` each an AnnData, shared columns in ``obs``."""
    protein = ad.AnnData(np.ones((cells.n_obs, 2), np.float32), obs=pd.DataFrame(index=cells.obs_names))
    protein.var_names = ["CD3_TotalSeqB", "CD19_TotalSeqB"]
    rna = cells.copy()
    shared = rna.obs.copy()
    rna.obs = pd.DataFrame(index=rna.obs_names)
    with h5py.File(path, "w") as file:
        file.attrs["encoding-type"], file.attrs["encoding-version"] = "MuData", "0.1.0"
        modalities = file.create_group("mod")
        write_elem(modalities, "rna", rna)
        write_elem(modalities, "prot", protein)
        write_elem(file, "obs", shared)
    return path


def text_matrix(cells: ad.AnnData, path: Path, *, genes_in_rows: bool) -> Path:
    """A csv of genes by cells, as journals publish it, or a tsv of cells by genes."""
    values: Any = cells.X
    dense = values.toarray() if sp.issparse(values) else np.asarray(values)
    frame = pd.DataFrame(dense, index=cells.obs_names, columns=cells.var_names)
    (frame.T if genes_in_rows else frame).to_csv(path, sep="," if ".csv" in path.name else "\t")
    return path


# --- markers ---


def ranked(logged: ad.AnnData, groupby: str) -> ad.AnnData:
    """Run scanpy's ``rank_genes_groups`` on log-normalised cells, sets of one cell left out."""
    sizes = logged.obs[groupby].value_counts()
    kept = logged[logged.obs[groupby].isin(sizes.index[sizes > 1])].copy()
    kept.obs[groupby] = pd.Categorical(kept.obs[groupby].astype(str))
    kept.uns["log1p"] = {"base": None}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        sc.tl.rank_genes_groups(kept, groupby, method="t-test", pts=True, use_raw=False)
    return kept


def scanpy_frame(kept: ad.AnnData) -> pd.DataFrame:
    """``sc.get.rank_genes_groups_df(adata, None)``."""
    frame: pd.DataFrame = sc.get.rank_genes_groups_df(kept, None)
    if "group" not in frame:
        frame.insert(0, "group", kept.uns["rank_genes_groups"]["names"].dtype.names[0])
    return frame


def seurat_csv(frame: pd.DataFrame, path: Path, *, v5: bool = True, return_thresh: float = 0.01) -> Path:
    """What ``write.csv(FindAllMarkers(object, only.pos = TRUE), ...)`` writes.

    Seurat 5 keeps log2 fold changes above 0.1 and fractions above 0.01, Seurat 4 above 0.25 and 0.1.
    Both keep p below `return_thresh`.
    """
    least_fold, least_fraction = (0.1, 0.01) if v5 else (0.25, 0.1)
    most = frame[["pct_nz_group", "pct_nz_reference"]].max(axis=1)
    good = (
        (frame["logfoldchanges"] > least_fold) & (most > least_fraction) & (frame["pvals"] <= return_thresh)
    )
    rows = frame[good]
    table = pd.DataFrame(
        {
            "p_val": rows["pvals"], "avg_log2FC": rows["logfoldchanges"], "pct.1": rows["pct_nz_group"].round(3),
            "pct.2": rows["pct_nz_reference"].round(3), "p_val_adj": rows["pvals_adj"], "cluster": rows["group"],
            "gene": rows["names"],
        }
    )  # fmt: skip
    table.index = pd.Index([f"{name}.{i}" for i, name in enumerate(rows["names"])])
    table.to_csv(path, quoting=2)
    return path


def seurat_rds(frame: pd.DataFrame, path: Path) -> Path:
    """What ``saveRDS(FindAllMarkers(object, only.pos = TRUE), ...)`` writes."""
    import rdata

    table = pd.read_csv(seurat_csv(frame, path.with_suffix(".csv")), index_col=0)
    rdata.write_rds(path, for_r(table.astype({"cluster": str, "gene": str}).reset_index(drop=True)))
    return path


def for_r(frame: pd.DataFrame) -> pd.DataFrame:
    """The frame as rdata can write it: it does not know the strings of pandas 3."""
    texts = frame.columns[[pd.api.types.is_string_dtype(dtype) for dtype in frame.dtypes]]
    index = frame.index.astype(object) if pd.api.types.is_string_dtype(frame.index.dtype) else frame.index
    plain = frame.astype(dict.fromkeys(texts, object)).set_axis(index)
    return plain.set_axis(frame.columns.astype(object), axis=1)


def presto_tsv(frame: pd.DataFrame, path: Path) -> Path:
    """What ``presto::wilcoxauc`` returns, as a tsv: every gene for every group, fractions in percent."""
    table = pd.DataFrame(
        {
            "feature": frame["names"], "group": frame["group"], "avgExpr": 1.0,
            "logFC": frame["logfoldchanges"] * np.log(2),
            "statistic": 1000.0, "auc": 0.5 + frame["scores"].clip(-40, 40) / 100, "pval": frame["pvals"],
            "padj": frame["pvals_adj"], "pct_in": frame["pct_nz_group"] * 100,
            "pct_out": frame["pct_nz_reference"] * 100,
        }
    )  # fmt: skip
    table.to_csv(path, sep="\t", index=False)
    return path


def top_genes(frame: pd.DataFrame, n: int = 30) -> dict[str, list[str]]:
    """Return the best genes of each group by scanpy's score, of those that it has more of than the others."""
    higher = frame[frame["scores"] > 0]
    return {str(g): list(rows["names"].head(n)) for g, rows in higher.groupby("group", observed=True)}


def gmt(lists: dict[str, list[str]], path: Path) -> Path:
    """A gene set file of MSigDB's form."""
    path.write_text("".join("\t".join([name, "markers", *genes]) + "\n" for name, genes in lists.items()))
    return path


def cassia_csv(lists: dict[str, list[str]], path: Path) -> Path:
    """The two columns that CASSIA takes: a cluster and its genes in one field."""
    frame = pd.DataFrame({"cluster": list(lists), "markers": [", ".join(genes) for genes in lists.values()]})
    frame.to_csv(path, index=False)
    return path


def wide_csv(lists: dict[str, list[str]], path: Path) -> Path:
    """Names by rank, a column a cluster; short columns end early."""
    uneven = {name: genes[: len(genes) - i] for i, (name, genes) in enumerate(lists.items())}
    pd.DataFrame({name: pd.Series(genes) for name, genes in uneven.items()}).to_csv(path)
    return path
