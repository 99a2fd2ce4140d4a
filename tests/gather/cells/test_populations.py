"""Merged clusters: whole cells of two unrelated lineages under one name, with no other set of either in the file."""

import numpy as np
import pytest
import scipy.sparse as sp
from hypothesis import given, settings
from hypothesis import strategies as st

import gather
from gather.cells.populations import LEAST_CELLS, LEAST_SHARE, divided
from gather.labelling.plain_words import status_reason


def cells_of(rng, level, n):
    return np.log1p(rng.poisson(np.asarray(level) * 3.0 + 0.2, (n, len(level))))


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), n=st.integers(20, 90), share=st.sampled_from([0.2, 0.35, 0.5]))
def test_two_groups_of_cells_are_found_in_any_order_and_form(seed, n, share):
    rng = np.random.default_rng(seed)
    second = max(LEAST_CELLS, int(n * share))
    level = np.repeat([1.0, 0.0], 30)
    cells = np.concatenate([cells_of(rng, level, n), cells_of(rng, level[::-1], second)])
    order = rng.permutation(len(cells))
    found = divided(cells[order])
    assert found is not None
    truth = order >= n
    assert (found == truth).all() or (found == ~truth).all()
    in_csr = divided(sp.csr_matrix(cells[order]))
    assert in_csr is not None
    assert (in_csr == found).all() or (in_csr == ~found).all()


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), n=st.integers(1, 120), genes=st.integers(1, 80))
def test_a_group_is_never_smaller_than_said(seed, n, genes):
    rng = np.random.default_rng(seed)
    found = divided(cells_of(rng, rng.uniform(0, 1, genes), n))
    assert found is None or min(found.sum(), (~found).sum()) >= max(LEAST_CELLS, LEAST_SHARE * n)


def test_a_few_strangers_make_no_second_group():
    rng = np.random.default_rng(0)
    level = np.repeat([1.0, 0.0], 30)
    few = np.concatenate([cells_of(rng, level, 100), cells_of(rng, level[::-1], LEAST_CELLS - 1)])
    assert divided(few) is None
    rare = np.concatenate([cells_of(rng, level, 190), cells_of(rng, level[::-1], int(190 * LEAST_SHARE) - 1)])
    assert divided(rare) is None


def test_cells_that_are_all_alike_are_one_group():
    assert divided(np.ones((30, 8))) is None


@pytest.mark.data
@pytest.mark.parametrize("closed", [False, True])
def test_a_real_cluster_of_b_cells_and_monocytes_is_mixed_and_no_other(core_graph, mirror, closed):
    import anndata as ad

    cells = ad.read_h5ad(mirror / "h5ad" / "pbmc68k_reduced.h5ad")
    labels = cells.obs["bulk_labels"].astype(str).to_numpy().astype(object)
    both = np.isin(labels, ["CD19+ B", "CD14+ Monocyte"])
    cells.obs["group"] = np.where(both, "merged", labels)
    names = [
        "B cell",
        "monocyte",
        "T cell",
        "natural killer cell",
        "dendritic cell",
        "hematopoietic stem cell",
    ]
    gather.annotate(cells, "group", graph=core_graph, candidates=names if closed else None)
    of_set = cells.obs.groupby("group", observed=True)[["gather_status", "gather_mixture"]].first()
    assert of_set.index[of_set["gather_status"] == "mixed"].tolist() == ["merged"]
    assert "B cell" in of_set.loc["merged", "gather_mixture"]
    assert "monocyte" in of_set.loc["merged", "gather_mixture"]
    merged = next(a for a in gather.results(cells).annotations if a.cell_set == "merged")
    assert merged.mixture is not None
    assert merged.mixture.merged
    assert status_reason(merged).startswith("mixed: two groups of cells, the second ")
