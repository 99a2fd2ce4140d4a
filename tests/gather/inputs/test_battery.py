"""The short form of ``python -m tests.battery``: every ordinary input, of ninety cells and a small graph."""

import warnings

import anndata as ad
import numpy as np
import pytest
import scanpy as sc

from tests.battery.rows import ensembl_ids, rows_of, try_row

SHORT = {
    "10x .h5, version 3", "10x .h5, version 2", "10x .h5, CITE-seq", "10x folder, version 3", "10x folder, version 2",
    "10x folder, version 2, gzipped", "10x folder, STARsolo, a prefix", "csv, genes in rows", "tsv.gz, cells in rows",
}  # fmt: skip
"""Inputs without columns of obs: read here, annotated by clusters in the long form."""
LONG = {"no column, clusters found"}


@pytest.fixture
def rows(blood_cells: ad.AnnData, blood_graph) -> dict:
    del blood_cells.obsm["X_umap"], blood_cells.layers["counts"]
    blood_cells.obs["donor"] = np.array(["d1", "d2", "d3"])[np.arange(90) % 3]
    logged = blood_cells.copy()
    sc.pp.normalize_total(logged, target_sum=1e4)
    sc.pp.log1p(logged)
    mouse = blood_cells.copy()
    mouse.var_names = [n.capitalize() for n in mouse.var_names[:18]] + [f"Gm{38380 + i}" for i in range(12)]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        ensembl = ensembl_ids(blood_graph, blood_cells.var_names)
        found = rows_of(
            blood_cells, logged, mouse, ensembl, groupby="group", sample="donor", mouse_groupby="group"
        )
        return {row.name: row for row in found}


def test_every_row_gets_what_it_should(rows, blood_graph, tmp_path) -> None:
    fell = {}
    for name, row in rows.items():
        if name in SHORT | LONG:
            continue
        folder = tmp_path / str(len(list(tmp_path.iterdir())))
        folder.mkdir()
        result = try_row(row, blood_graph, folder)
        if not result.good:
            fell[name] = result.got
    assert fell == {}


def test_cells_without_columns_come_as_they_were(rows, blood_graph, blood_cells, tmp_path) -> None:
    from gather.inputs.kinds import kind_of
    from gather.inputs.opened import read_cells

    for name in sorted(SHORT):
        path = rows[name].make(tmp_path)
        adata = read_cells(path, kind_of(path), blood_graph)
        assert list(adata.var_names) == list(blood_cells.var_names), name
        assert list(adata.obs_names) == list(blood_cells.obs_names), name
        values = adata.X.toarray() if hasattr(adata.X, "toarray") else adata.X
        np.testing.assert_array_equal(values, blood_cells.X, err_msg=name)
