"""The null is a null, weights are what the documents say, ranking is deterministic."""

import numpy as np
import pytest
import scipy.sparse as sp
from scipy import stats

from gather.labelling.explain import explain
from gather.metrics.multiple_testing import benjamini_hochberg
from gather.retrieval.evidence_weights import CITED, INHERITANCE, LONE_CLAIM, evidence_weights
from gather.retrieval.metapaths import target_named
from gather.retrieval.null import Null
from gather.retrieval.query import query_genes, rank_weights, technical_genes
from gather.retrieval.scores import LEAST_VOICE, SCORES, Retriever, _voices
from vckg.base.errors import InputError


@pytest.fixture(scope="module")
def columns():
    """Evidence weights of 400 genes for 60 candidates, from short lists to long ones, with heavy tails."""
    rng = np.random.default_rng(1)
    dense = np.zeros((400, 60))
    for c in range(60):
        marked = rng.choice(400, size=5 + 3 * c, replace=False)
        dense[marked, c] = rng.lognormal(1.0, 0.35 if c % 2 else 0.7, len(marked))
    return sp.csr_array(dense)


def permuted_statistics(columns, weights, n, rng):
    dense = columns.toarray()
    return np.stack([weights @ dense[rng.permutation(len(dense))[: len(weights)]] for _ in range(n)])


def test_the_closed_form_agrees_with_ten_thousand_permutations(columns):
    weights = rank_weights(30)
    null = Null.of(columns, np.arange(400, dtype=np.int32))
    drawn = permuted_statistics(columns, weights, 10_000, np.random.default_rng(2))
    for quantile in (0.5, 0.9, 0.99):
        at = np.quantile(drawn, quantile, axis=0)
        permutation_p = (drawn >= at).mean(axis=0)
        p = null.p_values(at, weights)
        reached = at > 0
        assert np.median(np.abs(np.log(p[reached] / permutation_p[reached]))) < 0.1
        assert np.abs(np.log(p[reached] / permutation_p[reached])).max() < 0.7


@pytest.mark.parametrize(("marked", "within"), [(1, 0.5), (4, 0.5), (12, 0.25), (36, 0.25)])
def test_the_closed_form_agrees_with_all_lists_of_three_among_thirty_six_genes(marked, within):
    """All 42,840 ordered lists: p is its share, within a quarter down to 1e-3; for few genes within a half."""
    rng, w = np.random.default_rng(marked), rank_weights(3)
    x = np.zeros(36)
    x[:marked] = rng.lognormal(0.0, 0.7, marked)
    lists = np.array(
        [[i, j, k] for i in range(36) for j in range(36) for k in range(36) if len({i, j, k}) == 3]
    )
    statistic = np.sort(x[lists] @ w)[::-1]
    null = Null.of(sp.csr_array(x[:, None]), np.arange(36, dtype=np.int32))
    for rank in (43, 200, 428, 2000):
        exact = (statistic >= statistic[rank] * (1 - 1e-9)).mean()
        if statistic[rank] > 0:
            assert null.p_values(statistic[[rank]], w)[0] == pytest.approx(exact, rel=within), rank


def test_p_values_are_uniform_under_the_null(columns):
    """Long enough lists: the statistic is continuous there, and a Kolmogorov-Smirnov test sees nothing."""
    weights, rng = rank_weights(30), np.random.default_rng(3)
    null = Null.of(columns, np.arange(400, dtype=np.int32))
    drawn = permuted_statistics(columns, weights, 400, rng)
    p = np.stack([null.p_values(row, weights) for row in drawn])
    tests = [stats.kstest(p[:, c], "uniform").pvalue for c in range(31, 60, 2)]
    assert min(tests) > 1e-3
    assert np.mean(np.array(tests) < 0.05) < 0.2


def test_the_tail_is_right_for_heavy_tailed_weights_too(columns):
    """One enormous weight makes the body of the distribution lumpy; where decisions are made it must still
    hold."""
    weights, rng = rank_weights(30), np.random.default_rng(6)
    null = Null.of(columns, np.arange(400, dtype=np.int32))
    p = np.stack([null.p_values(row, weights) for row in permuted_statistics(columns, weights, 2000, rng)])
    for alpha in (0.2, 0.1, 0.05, 0.01):
        assert (p[:, 30::2] <= alpha).mean() == pytest.approx(alpha, rel=0.2)


def test_short_lists_have_honest_p_values(columns):
    """Where the statistic is mostly 0, a p below alpha comes no oftener than alpha (with some room for
    sampling)."""
    weights, rng = rank_weights(30), np.random.default_rng(4)
    null = Null.of(columns, np.arange(400, dtype=np.int32))
    drawn = permuted_statistics(columns, weights, 2000, rng)
    p = np.stack([null.p_values(row, weights) for row in drawn])
    for alpha in (0.1, 0.05, 0.01):
        assert (p[:, :30] <= alpha).mean() <= 1.25 * alpha
        assert (p <= alpha).mean(axis=0).max() <= 2.5 * alpha


def test_the_false_discovery_rate_holds(columns):
    weights, rng = rank_weights(30), np.random.default_rng(5)
    null = Null.of(columns, np.arange(400, dtype=np.int32))
    drawn = permuted_statistics(columns, weights, 500, rng)
    discoveries = [(benjamini_hochberg(null.p_values(row, weights)) <= 0.1).any() for row in drawn]
    assert np.mean(discoveries) <= 0.15  # no candidate is true: every discovery is false


def test_a_detection_background_makes_often_seen_genes_unsurprising(columns):
    often = np.ones(400)
    often[columns[:, [0]].nonzero()[0]] = 50.0
    genes = np.arange(400, dtype=np.int32)
    weights, statistic = rank_weights(10), np.full(60, 8.0)
    uniform = Null.of(columns, genes).p_values(statistic, weights)
    seen = Null.of(columns, genes, often).p_values(statistic, weights)
    assert seen[0] > uniform[0]


def test_a_background_of_each_rank_gives_honest_p_of_genes_that_keep_their_ranks(columns):
    """Queries of genes that are drawn rank by rank, none twice: as when each gene is shuffled over the cells."""
    rng, ranks = np.random.default_rng(4), 12
    at_rank = rng.gamma(0.3, size=(ranks, 400))
    at_rank /= at_rank.sum(axis=1, keepdims=True)
    drawn = np.array([rng.choice(400, 4000, p=row) for row in at_rank]).T
    drawn = drawn[[len(set(row)) == ranks for row in drawn.tolist()]]
    counts = np.array([np.bincount(column, minlength=400) for column in drawn.T], dtype=float)
    null = Null(columns, counts / counts.sum(axis=1, keepdims=True))
    weights = rank_weights(ranks)
    some = drawn[:1000]
    found = np.array([null.p_values(weights @ columns[row].toarray(), weights) for row in some])
    for level in (0.05, 0.01):
        assert (found <= level).mean() <= 1.2 * level


def test_many_queries_of_one_column_get_the_same_p_as_alone(columns):
    ranks = rank_weights(30)
    for background in (None, np.linspace(1, 2, 400)):
        null = Null.of(columns, np.arange(400, dtype=np.int32), background)
        lengths, statistic = np.array([30, 5, 0, 30, 12]), np.array([9.0, 4.0, 0.0, 0.0, 7.5])
        together = null.p_of_prefixes(40, statistic, lengths, ranks)
        alone = [
            null.p_values(np.full(60, s), ranks[:q])[40] if q else 1.0
            for s, q in zip(statistic, lengths.tolist(), strict=True)
        ]
        np.testing.assert_allclose(together, alone)


@pytest.mark.parametrize("background", [None, np.linspace(1, 2, 400)])
@pytest.mark.parametrize("asked", [1, 5, 30])
def test_the_critical_statistic_is_where_p_falls_to_the_level(columns, background, asked):
    weights, levels = rank_weights(asked), np.array([1e-6, 0.001, 0.05, 0.5])
    null = Null.of(columns, np.arange(400, dtype=np.int32), background)
    for level, critical in zip(levels, null.critical(weights, levels), strict=True):
        assert (critical > 0).all()
        assert (null.p_values(critical * (1 + 1e-7), weights) <= level * (1 + 1e-5)).all()
        reached = critical > 1e-300  # otherwise any statistic above 0 is rarer than the level
        below = null.p_values(critical * (1 - 1e-7), weights)
        assert (below[reached] >= level * (1 - 1e-5)).all()


def test_what_cannot_vary_never_reaches_a_level(columns):
    still = sp.hstack([columns[:, :2], sp.csr_array((400, 1))]).tocsr()
    critical = Null.of(still, np.arange(400, dtype=np.int32)).critical(rank_weights(5), np.array([0.5]))
    assert np.isinf(critical[0]).tolist() == [False, False, True]


def test_evidence_counts_independent_resources_and_specificity(make_graph):
    """Two sources of one resource count once, a lone claim half; a gene that marks both cells says nothing."""
    row = {"relation": "is_marker_for", "object": "CL:0000001"}
    graph = make_graph(
        [
            row | {"subject": "HGNC:1", "source": "toy"},
            row | {"subject": "HGNC:1", "source": "other"},
            row | {"subject": "HGNC:2", "source": "toy"},
            row | {"subject": "HGNC:2", "source": "toy:part"},
            row | {"subject": "HGNC:3", "source": "toy"},
            row | {"subject": "HGNC:3", "source": "toy", "object": "CL:0000002"},
        ]
    )
    weights = evidence_weights(graph, target_named("Cell"))
    column = weights.direct[:, [weights.column_of[graph.index("CL:0000001")]]].toarray().ravel()
    found = [column[graph.index(f"HGNC:{i}")] for i in (1, 2, 3)]
    np.testing.assert_allclose(found, [1.5 * np.log(2), 0.5 * np.log(2), 0.0])


def test_publications_of_the_best_cited_edge_count_damped(make_graph):
    row = {"relation": "is_marker_for", "object": "CL:0000001", "subject": "HGNC:1"}
    graph = make_graph(
        [
            row | {"source": "toy", "publications": [f"PMID:{i}" for i in range(15)]},
            row | {"source": "other", "publications": ["PMID:1"]},
            row | {"subject": "HGNC:2", "source": "toy", "object": "CL:0000002", "publications": []},
        ]
    )
    weights = evidence_weights(graph, target_named("Cell"))
    cell = weights.column_of[graph.index("CL:0000001")]
    found = float(weights.direct[[graph.index("HGNC:1")], :].toarray()[0, cell])
    assert found == pytest.approx(1.5 * np.log(2) * 16**CITED)


def test_a_cell_type_inherits_from_what_it_is_a_kind_of_and_not_the_other_way(make_graph):
    graph = make_graph(
        [
            ("HGNC:1", "is_marker_for", "CL:0000001"),
            ("HGNC:2", "is_marker_for", "CL:0000002"),
            ("CL:0000002", "subclass_of", "CL:0000001"),
            ("CL:0000003", "subclass_of", "CL:0000002"),
            ("CL:0000003", "subclass_of", "CL:0000004"),
        ]
    )
    candidates = [graph.index(f"CL:000000{i}") for i in (1, 2, 3, 4)]
    retriever = Retriever(graph, candidates=candidates)
    assert [graph.ids[i] for i in retriever.nodes] == ["CL:0000001", "CL:0000002", "CL:0000003"]
    genes = [graph.index("HGNC:1"), graph.index("HGNC:2")]
    expected = (
        (1 - LONE_CLAIM)
        * np.log(2)
        * np.array([[1, INHERITANCE, INHERITANCE**2 / 2], [0, 1, INHERITANCE / 2]])
    )
    np.testing.assert_allclose(retriever.matrix[genes].toarray(), expected)
    assert [graph.ids[i] for i in Retriever(graph).nodes] == ["CL:0000001", "CL:0000002"]


@pytest.mark.parametrize("score", SCORES)
def test_every_score_finds_the_type_whose_markers_were_asked(blood_graph, score):
    found = explain(["CD79A", "MS4A1", "CD19", "BLK"], graph=blood_graph, score=score)
    assert found.items[0].curie == "CL:0000236"
    assert (
        found.to_dict()
        == explain(["CD79A", "MS4A1", "CD19", "BLK"], graph=blood_graph, score=score).to_dict()
    )


def test_hubs_win_the_published_score_and_not_the_default(make_graph):
    """A candidate that every gene marks beats the specific one in the published score (its hub bias), not
    in ours."""
    genes = [f"HGNC:{i}" for i in range(40)]
    edges = [(g, "is_marker_for", "CL:0000009") for g in genes]
    edges += [(g, "is_marker_for", "CL:0000001") for g in genes[:4]]
    edges += [(g, "is_marker_for", f"CL:10000{i // 4:02}") for i, g in enumerate(genes)]
    graph = make_graph(edges)
    asked = [f"HGNC{i}" for i in (0, 1, 2, 20, 30)]
    best = {s: explain(asked, graph=graph, score=s, hops=1).items[0].curie for s in ("paper", "calibrated")}
    assert best["paper"] == "CL:0000009"
    assert best["calibrated"] != "CL:0000009"


def test_equal_scores_are_ordered_by_curie(make_graph):
    graph = make_graph([("HGNC:1", "is_marker_for", c) for c in ("CL:0000003", "CL:0000001", "CL:0000002")])
    graph_with_rest = make_graph(
        [("HGNC:1", "is_marker_for", c) for c in ("CL:0000003", "CL:0000001")]
        + [("HGNC:2", "is_marker_for", "CL:0000009")]
    )
    assert explain(["HGNC1"], graph=graph, score="paper").items[0].curie == "CL:0000001"
    assert [i.curie for i in explain(["HGNC1"], graph=graph_with_rest).items] == ["CL:0000001", "CL:0000003"]


def test_technical_genes_are_listed_by_name_so_that_real_markers_stay():
    assert {"MT-CO1", "RPL3", "ATP5F1A", "EEF1A1", "MALAT1"} <= technical_genes()
    assert not {"ATP1A2", "ATP1B2", "ATP8B4", "EEF1A2", "RPS6KA1", "HBB"} & technical_genes()


def test_a_query_keeps_order_and_says_what_it_passed_over(blood_graph):
    query = query_genes(blood_graph, ["nonsense", "CD3E", "CD3D", "CD3E"], top=5)
    assert query.names == ("CD3E", "CD3D")
    assert query.ungrounded == ("nonsense",)
    np.testing.assert_allclose(query.weights, [1.0, 1 / np.log2(3)])


def test_genes_that_nobody_knows_are_an_error(blood_graph):
    with pytest.raises(InputError, match="none of the genes"):
        explain(["nonsense", "gibberish"], graph=blood_graph)


def test_other_targets_are_reached_with_their_own_evidence(blood_graph):
    found = explain(["CD79A", "CD3D"], graph=blood_graph, target="BiologicalProcess")
    assert [i.name for i in found.items] in (["immune response"], [])
    walks = explain(["CD14", "LYZ"], graph=blood_graph, target="AnatomicalEntity", score="paper").items
    assert walks == () or walks[0].name == "blood"


def test_a_gene_speaks_where_it_adds_enough_relative_to_the_loudest():
    rows = sp.csr_array(np.array([[1.0, 0.0, 0.0], [LEAST_VOICE, 1.0, 0.0], [LEAST_VOICE / 2, 1.0, 0.0]]))
    assert _voices(rows, np.ones(3)).tolist() == [2, 2, 0]
    assert _voices(rows, np.array([0.5, 1.0, 1.0])).tolist() == [3, 2, 0]
    assert _voices(rows[:0], np.ones(0)).tolist() == [0, 0, 0]  # a query without genes
