"""Chance on targeted panels against permutations of the contrasts."""

from __future__ import annotations

import numpy as np
import scipy.sparse as sp

from gather.retrieval.panel_null import TARGETED, p_of_separation
from gather.retrieval.query import CellSet, ground_panel, make_query
from gather.retrieval.scores import Retriever


def test_small_p_come_about_as_often_as_stated_under_permutation() -> None:
    """Weights of heavy tails; in the middle of the range p may be off by .06, which decides nothing."""
    rng = np.random.default_rng(0)
    weights = rng.lognormal(0.0, 1.0, (300, 6)) * (rng.random((300, 6)) < 0.2)
    contrast = np.clip(rng.normal(0.0, 1.0, 300) ** 3 / 3, -2, 2)
    rows, length = sp.csr_array(weights), np.linalg.norm(weights, axis=0)
    p = np.array([p_of_separation(rng.permutation(contrast), rows, length) for _ in range(2000)])
    for level in (0.1, 0.05, 0.01):
        assert 0.5 < (p <= level).mean() / level < 1.5


def test_markers_of_the_set_get_a_small_p() -> None:
    rng = np.random.default_rng(1)
    weights = rng.lognormal(0.0, 1.0, (300, 2)) * (rng.random((300, 2)) < 0.2)
    contrast = rng.normal(0.0, 0.5, 300) + (weights[:, 0] > 0)
    found = p_of_separation(contrast, sp.csr_array(weights), np.linalg.norm(weights, axis=0))
    assert found[0] < 0.001
    assert found[1] > 0.01


def test_nothing_to_compare_is_no_evidence() -> None:
    rows, length = sp.csr_array(np.ones((5, 1))), np.array([np.sqrt(5.0)])
    assert p_of_separation(np.arange(5.0), rows, length).tolist() == [1.0]
    assert p_of_separation(np.zeros(5), sp.csr_array(np.eye(5)), np.ones(5)).tolist() == [1.0] * 5
    assert p_of_separation(np.ones(2), sp.csr_array(np.ones((2, 1))), np.ones(1)).tolist() == [1.0]


def test_a_small_panel_with_other_sets_uses_the_contrast(blood_graph) -> None:
    symbols = ("CD3D", "CD3E", "CD79A", "CD14", "LYZ")
    panel = ground_panel(blood_graph, symbols, detected=np.full(5, 0.5))
    contrast = np.array([2.0, 2.0, -1.0, -1.0, -1.0])
    query = make_query(panel, CellSet("a", ("CD3D", "CD3E"), contrast=contrast))
    retriever = Retriever(blood_graph, panel=panel)
    assert len(panel.genes) < TARGETED
    found = retriever.converge([query])[0]
    among = retriever.p_among_sets(query)
    assert among is not None
    np.testing.assert_array_equal(found.p, among)
    t_cell = found.nodes.tolist().index(blood_graph.index("CL:0000084"))
    assert np.argmin(found.p) == t_cell
