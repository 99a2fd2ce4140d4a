"""Scores that only the benchmark compares are their formulas, summed gene by gene."""

import numpy as np
import pytest
from scipy import stats

from benchmarks.annotation.comparison_scores import ALL_SCORES, ComparisonRetriever
from gather.labelling.explain import explain
from gather.retrieval.query import GeneQuery, query_genes
from gather.retrieval.scores import SCORES
from tests.gather.eight_genes import MARKS, asked, scores_by_type
from vckg.base.errors import InputError


def scores(graph, score: str, query: GeneQuery, **how) -> dict[str, float]:
    return scores_by_type(ComparisonRetriever(graph, score=score, **how), query)


def test_path_counts_are_multiplied_by_how_few_genes_reach(eight_genes):
    query = asked(eight_genes, 0, 2)
    retriever = ComparisonRetriever(eight_genes, score="dwpc", hops=1)
    operators = retriever.operators
    rows, columns = operators.rows(query.genes), np.searchsorted(operators.targets, retriever.nodes)
    (paths,) = operators.weights[:1]
    dense = paths.toarray()
    expected = {}
    for node, column in zip(retriever.nodes, columns, strict=True):
        reaching = np.count_nonzero(dense[:, column])
        information = 1 - np.log(reaching) / np.log(len(operators.genes))
        expected[eight_genes.ids[node]] = information * sum(
            w * dense[r, column] for w, r in zip(query.weights, rows, strict=True)
        )
    found = scores(eight_genes, "dwpc", query, hops=1)
    assert found == pytest.approx(expected, rel=1e-6)
    assert found["CL:0000001"] > 0


def test_what_every_gene_reaches_says_nothing_and_what_one_of_two_reaches_says_all(make_graph):
    """Information content in the smallest graphs: 1 - ln 1 / ln 2 and 1 - ln 2 / ln 2; a lone gene is never too few."""
    edges = [(f"HGNC:{g}", "is_marker_for", "CL:0000001") for g in (0, 1)]
    two = make_graph([*edges, ("HGNC:0", "is_marker_for", "CL:0000002")])
    found = scores(two, "dwpc", asked(two, 0, 1), hops=1)
    assert found["CL:0000001"] == pytest.approx(0)
    retriever = ComparisonRetriever(two, score="dwpc", hops=1)
    (paths,) = retriever.operators.weights[:1]
    row, column = (
        retriever.operators.rows(asked(two, 0).genes)[0],
        np.searchsorted(retriever.operators.targets, two.index("CL:0000002")),
    )
    assert found["CL:0000002"] == pytest.approx(paths.toarray()[row, column], rel=1e-6)
    one = make_graph(edges[:1])
    assert scores(one, "dwpc", asked(one, 0), hops=1)["CL:0000001"] > 0


def test_the_walk_with_restart_is_what_a_power_series_of_it_adds_up_to(eight_genes):
    """Mass after k steps is 1/2 sum_i 2^-i T^i s; T moves to each neighbour alike, s is weight over degree."""
    query = asked(eight_genes, 0, 2)
    neighbours: dict[str, set[str]] = {}
    for cell, genes in MARKS.items():
        for g in genes:
            neighbours.setdefault(f"HGNC:{g}", set()).add(cell)
            neighbours.setdefault(cell, set()).add(f"HGNC:{g}")
    weights = dict(zip(("HGNC:0", "HGNC:2"), query.weights, strict=True))
    mass = {g: w / len(neighbours[g]) for g, w in weights.items()}
    mass = {g: m / sum(mass.values()) for g, m in mass.items()}
    total = dict.fromkeys(neighbours, 0.0)
    for k in range(60):
        for node, m in mass.items():
            total[node] += 0.5 ** (k + 1) * m
        step = dict.fromkeys(neighbours, 0.0)
        for node, m in mass.items():
            for other in neighbours[node]:
                step[other] += m / len(neighbours[node])
        mass = step
    assert scores(eight_genes, "ppr", query, hops=1) == pytest.approx({c: total[c] for c in MARKS}, abs=1e-8)


def test_over_representation_is_the_logarithm_of_the_hypergeometric_tail(eight_genes):
    query = asked(eight_genes, 0, 1, 3)
    retriever = ComparisonRetriever(eight_genes, score="hypergeometric")
    (found,) = retriever.converge([query])
    for node, score in zip(found.nodes, found.score, strict=True):
        genes = MARKS[eight_genes.ids[node]]
        hits = len({0, 1, 3} & set(genes))
        p = stats.hypergeom.sf(hits - 1, len(retriever.genes), len(genes), 3)
        assert score == pytest.approx(-np.log10(p), abs=1e-12), eight_genes.ids[node]
        assert (score > 0) <= (hits > 0)


@pytest.mark.parametrize("score", ALL_SCORES)
def test_an_empty_query_scores_0(eight_genes, score):
    nothing = GeneQuery("q", np.zeros(0, np.int32), np.zeros(0), ())
    retriever = ComparisonRetriever(eight_genes, score=score)
    assert retriever.scored(nothing).score.tolist() == [0.0] * len(MARKS)
    (found,) = retriever.converge([nothing])
    assert found.p.tolist() == found.fdr.tolist() == [1.0] * len(MARKS)


@pytest.mark.parametrize("score", ALL_SCORES)
def test_every_score_finds_the_type_whose_markers_are_asked(blood_graph, score):
    query = query_genes(blood_graph, ["CD79A", "MS4A1", "CD19", "BLK"])
    retriever = ComparisonRetriever(blood_graph, score=score)
    found = retriever.scored(query)
    best = retriever.nodes[found.best(1)[0]]
    assert blood_graph.ids[best] == "CL:0000236"


@pytest.mark.parametrize("score", sorted(set(ALL_SCORES) - set(SCORES)))
def test_a_score_without_a_p_of_its_own_shows_none(eight_genes, blood_graph, score):
    """Each comparison score has p 1 in the benchmark and is no choice of `gather explain`."""
    (found,) = ComparisonRetriever(eight_genes, score=score).converge([asked(eight_genes, 0, 1, 2)])
    assert found.score.max() > 0
    assert set(found.p) == set(found.fdr) == {1.0}
    with pytest.raises(InputError, match=f"no score '{score}'.*one of calibrated, paper"):
        explain(["CD79A"], graph=blood_graph, score=score)
