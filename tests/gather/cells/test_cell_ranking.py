"""The query of one cell equals its definition, whatever the matrix is stored in; real cells are named by it."""

import warnings

import anndata as ad
import numpy as np
import pytest
import scipy.sparse as sp
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

import gather
from gather.benchmark.suite_data import label_column, label_maps
from gather.cells.cell_ranking import RUNS, SAMPLED, CellRanking
from gather.cells.row_blocks import Rows
from gather.ontology import Ontology
from gather.retrieval.query import Panel

COUNTS = arrays(np.float64, (12, 9), elements=st.integers(0, 3).map(float))


def panel_of(values, nodes):
    return Panel(tuple(f"G{i}" for i in range(len(nodes))), np.array(nodes), (values > 0).mean(axis=0))


def slowly(values, panel, top):
    """The most expressed genes of each cell, the rarer of equals first, then by node."""
    found = []
    for row in values:
        known = [g for g in range(len(row)) if panel.nodes[g] >= 0 and row[g] > 0]
        found.append(sorted(known, key=lambda g: (-row[g], panel.detected[g], panel.nodes[g]))[:top])
    return found


def listed(columns, n_genes):
    return [row[:n].tolist() for row, n in zip(columns, n_genes, strict=True)]


@settings(deadline=None)
@given(COUNTS, st.permutations([-1, *range(8)]), st.integers(1, 12))
def test_each_cell_asks_for_what_it_expresses_most(values, nodes, top):
    panel = panel_of(values, nodes)
    ranking, expected = CellRanking(panel, top), slowly(values, panel, top)
    stored = sp.csr_matrix(values)
    stored.data[stored.data == 2] = 0  # zeros that are stored
    for block in (values, sp.csr_matrix(values), np.log1p(values * 7.3)):
        assert listed(*ranking.ranked(block)) == expected
    assert listed(*ranking.ranked(stored)) == slowly(stored.toarray(), panel, top)


@settings(deadline=None)
@given(COUNTS)
def test_how_often_a_gene_stands_at_each_rank_is_counted_over_the_cells(values):
    panel = panel_of(values, range(9))
    at_rank = np.zeros((4, 9))
    for genes in slowly(values, panel, 4):
        at_rank[np.arange(len(genes)), genes] += 1
    expressed = (values > 0).any(axis=0)
    asked = CellRanking(panel, 4).asked(Rows(values))
    assert ((asked > 0) == expressed).all()
    np.testing.assert_allclose(asked.sum(axis=1), 1.0 if expressed.any() else 0.0)
    of_one_cell = at_rank.sum(axis=0) + panel.detected
    for rank in range(4):  # counted once more: a cell like all of them
        counted = asked[rank] * (at_rank[rank].sum() + 1.0) - at_rank[rank]
        np.testing.assert_allclose(counted, of_one_cell / max(of_one_cell.sum(), 1e-300), atol=1e-9)


def test_of_a_large_file_a_part_is_read():
    class Counted(Rows):
        read = 0

        def block(self, start, stop):
            self.read += stop - start
            return super().block(start, stop)

    rng = np.random.default_rng(0)
    values = (rng.random((5 * SAMPLED, 6)) < np.linspace(0.1, 0.9, 6)).astype(float)
    rows, panel = Counted(sp.csr_matrix(values)), panel_of(values, range(6))
    asked = CellRanking(panel, 2).asked(rows)
    assert rows.read == SAMPLED // RUNS * RUNS
    first = np.bincount([genes[0] for genes in slowly(values, panel, 2) if len(genes)], minlength=6)
    np.testing.assert_allclose(asked[0], first / first.sum(), atol=0.05)


@pytest.mark.data
@pytest.mark.parametrize(
    ("study", "folder"),
    [("breast_tnbc_wu2021_cid4465", "h5ad_more"), ("pbmc3k_clustifyr_2000hvg", "h5ad")],
)
def test_four_of_five_real_cells_find_their_lineage(core_graph, mirror, study, folder):
    """On the graph of pip alone; with TF-IDF in place of expression it was half of them."""
    cells = ad.read_h5ad(mirror / folder / f"{study}.h5ad")
    known = label_maps(mirror)[study]
    labels = cells.obs[label_column(cells.obs, known)].astype(str)
    cells = cells[labels.isin(known).to_numpy()][:600].copy()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        gather.annotate(cells, "cell", graph=core_graph)
    ontology = Ontology.of_cells(core_graph)
    right = [
        ontology.lineage(ontology.position(known[label][0])) == ontology.lineage(ontology.position(best))
        for label, best in zip(
            labels[cells.obs_names], cells.obs["gather_best_cell_type_ontology_term_id"], strict=True
        )
        if known[label][0] in ontology and best in ontology
    ]
    assert np.mean(right) > 0.75
