"""Real files of many labs: which values are read, which genes are ranked, and what is refused."""

from __future__ import annotations

import shutil
import warnings
from collections.abc import Callable
from functools import cache
from pathlib import Path

import anndata as ad
import h5py
import numpy as np
import pytest
import scipy.sparse as sp

from gather import annotate
from gather.cells.command import annotate_file
from gather.cells.expression import Expression, rank_cell_sets, read_expression
from gather.cells.options import Options
from gather.cells.values import choose, rows_of, survey_rows
from vckg.base.errors import InputError
from vckg.graph.graph import Graph

#: File, and the column of its cell sets.
FILES = {
    "h5ad/colon_kinchen2018_mini": "cell_type",
    "h5ad/melanoma_tcells_sadefeldman2018_scfeatures": "cellTypes",
    "h5ad/pancreas_wang2016_scclassify": "cell_type",
    "h5ad/pbmc3k_clustifyr_2000hvg": "seurat_clusters",
    "h5ad/pbmc68k_reduced": "bulk_labels",
    "h5ad/pbmc_kang18_ifnb_muscat": "cluster_id",
    "h5ad_more/breast_tnbc_wu2021_cid4465": "cell_type",
    "h5ad_more/marrow_he2020_scdiagnostics": "cell_type",
    "h5ad_more/mouse_cortex_zeisel2015_scenic": "cell_type",
    "h5ad_more/mouse_dcprogenitors_schlitzer2015_scorpius": "cell_type",
}
LARGEST_LOG = np.log1p(1e4)
pytestmark = [
    pytest.mark.data,
    pytest.mark.xdist_group("core-graph"),
    pytest.mark.filterwarnings("ignore::UserWarning"),
    pytest.mark.filterwarnings("ignore::FutureWarning"),
    pytest.mark.parametrize("name", FILES),
]


@cache
def opened(path: Path) -> ad.AnnData:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return ad.read_h5ad(path)


@cache
def thinned(path: Path) -> ad.AnnData:
    """At most some 300 cells from all over a file."""
    return opened(path)[:: max(opened(path).n_obs // 300, 1)].copy()


@cache
def _read(path: Path, graph: Graph) -> Expression:
    return read_expression(opened(path), graph)


@pytest.fixture
def path(mirror: Path, name: str) -> Path:
    return mirror / f"{name}.h5ad"


@pytest.fixture
def expression(core_graph: Graph, path: Path) -> Expression:
    return _read(path, core_graph)


@pytest.fixture
def small(path: Path) -> ad.AnnData:
    """The last 120 cells and some 2,000 genes, without ``raw`` and layers, so that X alone is looked at."""
    whole = opened(path)
    whole = whole[-120:, :: max(whole.n_vars // 2000, 1)]
    found = ad.AnnData(sp.csr_matrix(whole.X), obs=whole.obs.copy(), var=whole.var.copy())
    found.X.data = np.abs(found.X.data).astype(np.float32)
    return found


def test_the_values_are_logarithms_of_what_the_file_has(expression: Expression, path: Path) -> None:
    values = expression.matrix.data if sp.issparse(expression.matrix) else np.asarray(expression.matrix)
    assert np.isfinite(values).all()
    assert values.min() >= 0
    place, survey = choose(opened(path), None, lambda p: survey_rows(rows_of(p, opened(path).n_obs)))
    assert place.where == expression.origin
    if survey.counts:
        assert values.max() <= LARGEST_LOG


def test_detection_is_the_share_of_cells_above_zero(expression: Expression) -> None:
    columns = np.random.default_rng(0).choice(expression.matrix.shape[1], 40, replace=False)
    dense = sp.csc_matrix(expression.matrix)[:, columns].toarray()
    wanted = [sum(value > 0 for value in column) / len(column) for column in dense.T.tolist()]
    np.testing.assert_allclose(expression.panel.detected[columns], wanted)


def test_most_genes_are_genes_of_the_graph(expression: Expression, name: str) -> None:
    nodes = expression.panel.nodes[expression.panel.nodes >= 0]
    assert np.isin(nodes, expression.graph.nodes_of("Gene")).all()
    assert len(nodes) >= 0.5 * len(expression.panel.names)
    assert ("mouse" in expression.species) == ("mouse" in name)


def _unsorted(matrix: sp.csr_matrix) -> sp.csr_matrix:
    found = matrix.copy()
    for low, high in zip(found.indptr[:-1], found.indptr[1:], strict=True):
        found.indices[low:high], found.data[low:high] = (
            found.indices[low:high][::-1],
            found.data[low:high][::-1],
        )
    found.has_sorted_indices = False
    return found


@pytest.mark.parametrize(
    "form", [sp.csc_matrix, lambda m: m.toarray(), _unsorted], ids=["csc", "dense", "unsorted"]
)
def test_the_ranking_does_not_depend_on_how_a_matrix_is_stored(
    small: ad.AnnData, core_graph: Graph, name: str, form: Callable[[sp.csr_matrix], object]
) -> None:
    def ranked(values: object) -> list[tuple[str, ...]]:
        adata = ad.AnnData(values, obs=small.obs, var=small.var)
        groups = np.where(np.arange(adata.n_obs) % 3 == 0, "a", "b").tolist()
        return [found.genes for found in rank_cell_sets(read_expression(adata, core_graph), groups)]

    assert ranked(small.X) == ranked(form(small.X))


@pytest.mark.parametrize("value", [-1.0, np.nan, np.inf, 1j], ids=str)
def test_one_bad_value_in_the_last_cell_is_refused(
    small: ad.AnnData, core_graph: Graph, value: complex
) -> None:
    small.X = small.X.astype(np.complex64 if isinstance(value, complex) else np.float32)
    small.X.data[-1] = value
    with pytest.raises(InputError, match=r"^X\b"):
        read_expression(small, core_graph)


@pytest.mark.parametrize("element", ["obs", "uns", "X", "var"])
def test_a_part_in_another_file_is_refused_and_that_file_stays(
    core_graph: Graph, path: Path, tmp_path: Path, name: str, element: str
) -> None:
    source, victim = tmp_path / "in.h5ad", tmp_path / "victim.h5ad"
    for copy in (source, victim):
        shutil.copyfile(path, copy)
    with h5py.File(source, "r+") as file:
        if element in file:
            del file[element]
        file[element] = h5py.ExternalLink("victim.h5ad", f"/{element}")
    before = victim.read_bytes()
    with pytest.raises(InputError, match="is an external link"):
        annotate_file(source, tmp_path / "out.h5ad", core_graph, Options(groupby=FILES[name]))
    assert victim.read_bytes() == before
    assert not (tmp_path / "out.h5ad").exists()


@pytest.fixture(scope="module")
def answered(core_graph: Graph) -> Callable[[Path, str], ad.AnnData]:
    @cache
    def answer(path: Path, groupby: str) -> ad.AnnData:
        found = annotate(thinned(path), groupby, graph=core_graph, copy=True)
        assert found is not None
        return found

    return answer


def test_every_answer_is_a_term_with_its_name_or_unknown(
    answered: Callable[[Path, str], ad.AnnData], core_graph: Graph, path: Path, name: str
) -> None:
    obs = answered(path, FILES[name]).obs
    for term, label in (
        obs[["gather_cell_type_ontology_term_id", "gather_cell_type"]].drop_duplicates().to_numpy()
    ):
        node = core_graph.get(term)
        assert (label == core_graph.names[node]) if node is not None else (term == label == "unknown")
    unknown = obs["gather_cell_type"] == "unknown"
    assert (obs["gather_confidence"].isna() == unknown).all()
    assert obs["gather_confidence"][~unknown].between(0.5, 1).all()
    assert ((obs["gather_reason"] != "") == unknown).all()
    asked = obs["gather_status"] != "ungrounded"
    assert obs["gather_best_confidence"][asked].between(0, 1).all()
    assert obs["gather_fdr"].between(0, 1).all()
    assert (obs.groupby(FILES[name], observed=True)["gather_cell_type"].nunique() == 1).all()


def test_the_matrix_and_the_columns_of_the_file_stay(
    answered: Callable[[Path, str], ad.AnnData], path: Path, name: str
) -> None:
    before, after = thinned(path), answered(path, FILES[name])
    assert (before.X != after.X).sum() == 0
    assert [c for c in after.obs if not c.startswith("gather_")] == [*before.obs]
    assert not [c for c in before.obs if c.startswith("gather_")]
