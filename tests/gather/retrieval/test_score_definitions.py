"""Each score is its formula, summed gene by gene; what was not measured has no part in it."""

import numpy as np
import pytest

from gather.metrics.multiple_testing import benjamini_hochberg
from gather.retrieval.null import Null
from gather.retrieval.path_matrices import HOP_CODES
from gather.retrieval.query import GeneQuery, Panel, query_genes
from gather.retrieval.scores import LENGTH_EXPONENT, SCORES, Retriever
from tests.gather.eight_genes import MARKS, asked, scores_by_type


def scores(graph, score: str, query: GeneQuery, **how) -> dict[str, float]:
    return scores_by_type(Retriever(graph, score=score, **how), query)


def test_the_published_score_is_weight_times_rarity_summed_over_the_genes_that_reach(eight_genes):
    query = asked(eight_genes, 0, 2, 3)
    weight = dict(zip((0, 2, 3), 1 / np.log2([2, 3, 4]), strict=True))
    reached = len({cell for cell, genes in MARKS.items() if {0, 2, 3} & set(genes)})
    expected = {
        cell: sum(
            weight[g] * np.log(reached / sum(g in other for other in MARKS.values()) + 1)
            for g in (0, 2, 3)
            if g in genes
        )
        for cell, genes in MARKS.items()
    }
    assert scores(eight_genes, "paper", query, hops=1) == pytest.approx(expected, rel=1e-6)


def test_a_second_hop_counts_as_its_code_says(make_graph):
    """HGNC:1 reaches the cell through a process, HGNC:2 directly; both reach it alone, so rarity is the same."""
    through = make_graph(
        [
            ("HGNC:1", "participates_in", "GO:0000001"),
            ("CL:0000001", "capable_of", "GO:0000001"),
            ("HGNC:2", "is_marker_for", "CL:0000001"),
        ]
    )
    near, far = (
        scores(through, "paper", query_genes(through, [g]))["CL:0000001"] for g in ("HGNC2", "HGNC1")
    )
    assert far / near == pytest.approx(HOP_CODES[1] / HOP_CODES[0])


@pytest.mark.parametrize("score", SCORES)
def test_nothing_asked_reaches_nothing(eight_genes, score):
    nothing = GeneQuery("q", np.zeros(0, np.int32), np.zeros(0), ())
    (found,) = Retriever(eight_genes, score=score).converge([nothing])
    assert found.score.tolist() == [0.0] * len(MARKS)
    assert found.p.tolist() == found.fdr.tolist() == [1.0] * len(MARKS)


def test_the_default_is_the_statistic_over_the_damped_length(eight_genes):
    query = asked(eight_genes, 0, 2, 3)
    retriever = Retriever(eight_genes)
    weights = retriever.matrix.toarray()
    for c, node in enumerate(retriever.nodes):
        statistic = sum(w * weights[g, c] for w, g in zip(query.weights, query.genes, strict=True))
        expected = statistic / np.sqrt((weights[:, c] ** 2).sum()) ** LENGTH_EXPONENT
        assert scores(eight_genes, "calibrated", query)[eight_genes.ids[node]] == pytest.approx(expected)


def test_a_type_without_a_measured_gene_scores_0_and_takes_no_part_in_the_correction(eight_genes):
    measured = [f"HGNC{g}" for g in range(6)]
    nodes = query_genes(eight_genes, measured).genes
    retriever = Retriever(eight_genes, panel=Panel(tuple(measured), nodes))
    (found,) = retriever.converge([asked(eight_genes, 0, 2)])
    rows = {eight_genes.ids[n]: i for i, n in enumerate(found.nodes)}
    lost = rows["CL:0000004"]
    assert (found.score[lost], found.p[lost], found.fdr[lost]) == (0.0, 1.0, 1.0)
    kept = [i for i in range(len(found.nodes)) if i != lost]
    np.testing.assert_allclose(found.fdr[kept], benjamini_hochberg(found.p[kept]))


def test_how_often_a_file_detects_its_genes_is_the_background_of_the_null(eight_genes):
    names = tuple(f"HGNC{g}" for g in range(8))
    nodes = query_genes(eight_genes, list(names)).genes
    rare = np.where(np.arange(8) < 4, 0.05, 0.9)
    p = {}
    for known, detected in ((True, rare), (False, None)):
        panel = Panel(names, nodes, detected)
        retriever, query = Retriever(eight_genes, panel=panel), asked(eight_genes, 0, 2)
        background = panel.background(eight_genes.n) if known else None
        null = Null.of(retriever.matrix, retriever.genes, background)
        p[known] = retriever.p_values(query)
        np.testing.assert_allclose(p[known], null.p_values(retriever.statistic(query), query.weights))
    assert not np.allclose(p[True], p[False])


def test_support_is_the_weight_the_number_and_the_cosine_of_the_genes_that_speak(eight_genes):
    query = asked(eight_genes, 0, 2, 6)
    retriever = Retriever(eight_genes)
    support, weights = retriever.support(query), retriever.matrix.toarray()
    for c in range(len(retriever.nodes)):
        of_query = weights[query.genes, c]
        assert support.genes[c] == np.count_nonzero(of_query)
        assert support.share[c] == pytest.approx(query.weights[of_query > 0].sum() / query.weights.sum())
        cosine = query.weights @ of_query / np.linalg.norm(query.weights) / np.linalg.norm(weights[:, c])
        assert support.similarity[c] == pytest.approx(cosine)
