"""All measured genes of a set against the file's other sets: contrasts, separation, and the second stage."""

from __future__ import annotations

import numpy as np
import pytest

from gather.labelling.decide import SEPARATION, Labeller, second_stage
from gather.ontology import Ontology
from gather.retrieval.query import (
    LEAST_SPREAD,
    MOST_CONTRAST,
    CellSet,
    compared,
    contrasts,
    ground_panel,
    make_query,
    query_genes,
)
from gather.retrieval.scores import Retriever


def test_a_contrast_is_the_difference_from_the_other_sets_in_spreads() -> None:
    mean = np.random.default_rng(0).gamma(1.0, 1.0, (4, 30))
    found = contrasts(mean)
    assert found is not None
    for i in range(4):
        for g in range(30):
            others = np.delete(mean[:, g], i).mean()
            slow = (mean[i, g] - others) / (mean[:, g].std() + LEAST_SPREAD)
            assert found[i, g] == pytest.approx(np.clip(slow, -MOST_CONTRAST, MOST_CONTRAST))


def test_one_set_has_no_contrast() -> None:
    assert contrasts(np.ones((1, 5))) is None


def test_the_separation_is_the_contrast_along_each_candidates_evidence(blood_graph) -> None:
    symbols = ("CD3D", "CD3E", "CD79A", "CD14", "LYZ", "unheard-of")
    panel = ground_panel(blood_graph, symbols)
    contrast = np.array([2.0, 1.0, -1.0, -2.0, 0.5, 9.0])
    query = make_query(panel, CellSet("a", ("CD3D", "CD3E"), contrast=contrast))
    retriever = Retriever(blood_graph, panel=panel)
    found = retriever.scored(query).separation
    assert found is not None
    matrix = retriever.matrix.toarray()
    for column in range(len(retriever.nodes)):
        total = sum(
            z * matrix[n, column] for z, n in zip(contrast, panel.nodes.tolist(), strict=True) if n >= 0
        )
        norm = np.linalg.norm(matrix[panel.genes, column])
        assert found[column] == pytest.approx(total / norm if norm else 0.0)


def test_a_gene_list_and_the_published_score_have_no_separation(blood_graph) -> None:
    query = query_genes(blood_graph, ["CD3D", "CD3E"])
    assert Retriever(blood_graph).scored(query).separation is None


def test_the_second_stage_adds_relative_separation_and_stays_positive() -> None:
    score, separation = np.array([4.0, 2.0, 1.0]), np.array([-1.0, 4.0, -4.0])
    expected = [1.0 - SEPARATION / 4, 0.5 + SEPARATION, max(0.25 - SEPARATION, 1e-6)]
    np.testing.assert_allclose(second_stage(score, separation), expected)
    np.testing.assert_allclose(second_stage(score, None), [1.0, 0.5, 0.25])
    np.testing.assert_allclose(second_stage(score, np.zeros(3)), [1.0, 0.5, 0.25])


def test_absent_markers_decide_between_candidates_of_like_scores(blood_graph) -> None:
    """One gene of each type is asked; the other markers of B cell are lower here than in the file's other sets."""
    symbols = ("CD3D", "CD79A", "CD3E", "CD2", "CD19", "MS4A1")
    panel = ground_panel(blood_graph, symbols)
    contrast = np.array([1.0, 1.0, 1.0, 1.0, -2.0, -2.0])
    cell_set = CellSet("a", ("CD79A", "CD3D"), contrast=contrast)
    retriever = Retriever(blood_graph, panel=panel)
    convergence = retriever.scored(make_query(panel, cell_set))

    def first(separation: float) -> str:
        labeller = Labeller(Ontology.of_cells(blood_graph), separation=separation)
        return blood_graph.names[int(convergence.nodes[labeller.best(convergence, 1)[0]])]

    assert first(0.0) == "B cell"
    assert first(1.0) == "T cell"


def test_small_sets_do_not_say_how_often_others_have_a_gene():
    sets = [
        CellSet(str(n), (), n, detected=np.array([share])) for n, share in ((3, 1.0), (50, 0.2), (50, 0.0))
    ]
    assert [one.most.tolist() for one in compared(sets)] == [[0.2]] * 3
    assert compared([CellSet("0", ())])[0].most is None
