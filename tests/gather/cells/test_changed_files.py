"""Real files in the forms that users have them: names, columns and order change, the answers do not."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from pathlib import Path

import anndata as ad
import numpy as np
import pandas as pd
import pytest

from gather import annotate
from vckg.graph.graph import Graph

FILES = {
    "h5ad/pancreas_wang2016_scclassify": "cell_type",
    "h5ad/pbmc_kang18_ifnb_muscat": "cluster_id",
    "h5ad_more/marrow_he2020_scdiagnostics": "cell_type",
    "h5ad_more/mouse_cortex_zeisel2015_scenic": "cell_type",
}
"""File, and the column of its cell sets."""
CELLS = 400
pytestmark = [
    pytest.mark.data,
    pytest.mark.xdist_group("core-graph"),
    pytest.mark.filterwarnings("ignore::UserWarning"),
    pytest.mark.filterwarnings("ignore::FutureWarning"),
    pytest.mark.parametrize("name", FILES),
]


@pytest.fixture(scope="module")
def opened(mirror: Path) -> Callable[[str], ad.AnnData]:
    """Some 400 cells from all over a file, the column of its sets as ``set``, without embeddings."""

    @cache
    def read(name: str) -> ad.AnnData:
        whole = ad.read_h5ad(mirror / f"{name}.h5ad")
        whole = whole[:: max(whole.n_obs // CELLS, 1)]
        sets = pd.DataFrame({"set": whole.obs[FILES[name]].astype(str)}, index=whole.obs_names)
        return ad.AnnData(whole.X.copy(), obs=sets, var=whole.var[[]].copy())

    return read


@pytest.fixture(scope="module")
def answers(opened: Callable[[str], ad.AnnData], core_graph: Graph) -> Callable[[str], pd.Series]:
    """The label of every cell of the file as it is."""

    @cache
    def read(name: str) -> pd.Series:
        return labels(opened(name).copy(), core_graph)

    return read


def labels(adata: ad.AnnData, graph: Graph, groupby: str = "set") -> pd.Series:
    annotate(adata, groupby, graph=graph)
    return adata.obs["gather_cell_type"].astype(str)


def numbered(adata: ad.AnnData) -> None:
    """The sets as numbers that pandas made floats, since one cell has none."""
    codes = pd.Series(pd.factorize(adata.obs["set"])[0].astype(float), index=adata.obs_names)
    codes.iloc[0] = np.nan
    adata.obs["set"] = codes


def dotted(adata: ad.AnnData) -> None:
    """R's names: every hyphen became a dot."""
    adata.var_names = [name.replace("-", ".") for name in adata.var_names]


def in_a_column(adata: ad.AnnData) -> None:
    """Names that mean nothing, and the symbols in a column of any name."""
    adata.var["what the lab calls it"] = [*adata.var_names]
    adata.var_names = [f"row {i}" for i in range(adata.n_vars)]


CHANGES = [numbered, dotted, in_a_column]


@pytest.mark.parametrize("change", CHANGES, ids=lambda change: change.__name__)
def test_the_answers_stay_when_names_change(
    opened: Callable[[str], ad.AnnData],
    answers: Callable[[str], pd.Series],
    core_graph: Graph,
    name: str,
    change: Callable[[ad.AnnData], None],
) -> None:
    adata = opened(name).copy()
    change(adata)
    found = labels(adata, core_graph)
    pd.testing.assert_series_equal(found[1:], answers(name)[1:])


def test_the_answers_do_not_depend_on_the_order_of_cells_and_genes(
    opened: Callable[[str], ad.AnnData],
    answers: Callable[[str], pd.Series],
    core_graph: Graph,
    name: str,
) -> None:
    adata = opened(name)
    rng = np.random.default_rng(0)
    shuffled = adata[rng.permutation(adata.n_obs), rng.permutation(adata.n_vars)].copy()
    pd.testing.assert_series_equal(labels(shuffled, core_graph)[adata.obs_names], answers(name))


def test_a_cell_without_a_set_is_ungrounded_and_says_so(
    opened: Callable[[str], ad.AnnData], core_graph: Graph, name: str
) -> None:
    adata = opened(name).copy()
    adata.obs["set"] = adata.obs["set"].where(np.arange(adata.n_obs) > 2, "NA")
    found = labels(adata, core_graph)
    assert (found[:3] == "unknown").all()
    assert (adata.obs["gather_reason"][:3] == "no_group").all()
    assert (adata.obs["gather_reason"][3:] != "no_group").all()
